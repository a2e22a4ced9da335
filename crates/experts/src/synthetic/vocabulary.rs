//! The phrases of each specialty, separated by semicolons. Plans are verb phrases, all others noun phrases.

/// The phrases that notes of one origin are made of.
pub(crate) struct Vocabulary {
    pub(crate) complaints: &'static str,
    pub(crate) findings: &'static str,
    pub(crate) tests: &'static str,
    pub(crate) drugs: &'static str,
    pub(crate) plans: &'static str,
    /// Specialties whose patients overlap with these.
    pub(crate) related: [usize; 2],
}

pub(crate) const DURATIONS: &str = "for two days; for about a week; for three weeks; since last month; for several months; on and \
    off for a year; since yesterday evening; over the past fortnight";

/// Phrases of all specialties.
pub(crate) const SHARED: Vocabulary = Vocabulary {
    complaints: "fatigue; dizziness; poor sleep; loss of appetite; weight loss; general weakness; nausea; \
        night sweats; feeling unwell; reduced exercise tolerance; headache; worsening pain",
    findings: "normal vital signs; mild pallor; no fever; an unremarkable examination; raised blood \
        pressure; mild dehydration; a soft abdomen; clear lungs; a regular pulse; no acute distress",
    tests: "a full blood count; routine blood tests; a metabolic panel; inflammatory markers; a urine \
        dipstick; thyroid function tests",
    drugs: "paracetamol; ibuprofen; metformin; amlodipine; a multivitamin; prednisolone; omeprazole; \
        vitamin D; amoxicillin; atorvastatin",
    plans: "review in four weeks; repeat the blood tests; continue current treatment; discuss at the \
        team meeting; return if symptoms worsen; advise rest and fluids; update the family doctor; \
        adjust the medication",
    // Not read: only a specialty's own list is asked for related ones.
    related: [0, 0],
};

pub(crate) const SPECIALTIES: [Vocabulary; 8] = [
    // Cardiology.
    Vocabulary {
        complaints: "chest tightness on exertion; palpitations; swollen ankles; breathlessness lying flat; a \
            fainting episode; crushing central chest pain; a racing heart at night",
        findings: "an irregular pulse; a systolic murmur; pitting ankle oedema; a raised jugular venous \
            pressure; a displaced apex beat; a third heart sound; fine basal crackles",
        tests: "an electrocardiogram; an echocardiogram; a troponin level; a 24-hour rhythm recording; a \
            coronary angiogram; a natriuretic peptide level",
        drugs: "bisoprolol; ramipril; furosemide; apixaban; aspirin; nitrate spray; amiodarone",
        plans: "arrange an exercise stress test; book a cardioversion; titrate the beta blocker; refer \
            for stenting; restrict salt and fluids; consider a pacemaker",
        related: [4, 2],
    },
    // Orthopaedics.
    Vocabulary {
        complaints: "knee pain after a fall; hip stiffness in the morning; low back pain; a locked knee; \
            shoulder pain when lifting; a twisted ankle; numbness down the leg",
        findings: "a joint effusion; a limping gait; restricted shoulder abduction; tenderness over the \
            joint line; a positive straight leg raise; crepitus on movement; swelling around the \
            fracture",
        tests: "a knee radiograph; an MRI of the lumbar spine; a bone density scan; a CT of the wrist; a \
            joint aspirate; a hip radiograph",
        drugs: "naproxen; diclofenac gel; alendronic acid; tramadol; gabapentin; a steroid injection",
        plans: "start physiotherapy; list for arthroscopy; apply a plaster cast; plan a hip replacement; \
            fit a knee brace; keep the limb elevated",
        related: [2, 5],
    },
    // Neurology.
    Vocabulary {
        complaints: "a throbbing one-sided headache; a first seizure; numbness down the leg; double vision; a \
            tremor of the hand; sudden slurred speech; episodes of memory loss",
        findings: "an upgoing plantar reflex; a facial droop; reduced sensation in the feet; a resting \
            tremor; brisk reflexes; nystagmus; weak grip on one side",
        tests: "an MRI of the brain; an electroencephalogram; a lumbar puncture; nerve conduction \
            studies; a CT of the head; a carotid ultrasound",
        drugs: "levetiracetam; sumatriptan; levodopa; gabapentin; amitriptyline; valproate; aspirin",
        plans: "advise against driving; keep a headache diary; refer to the stroke clinic; increase the \
            anticonvulsant; test memory again; arrange nerve studies",
        related: [7, 1],
    },
    // Gastroenterology.
    Vocabulary {
        complaints: "burning upper abdominal pain; difficulty swallowing; bloody diarrhoea; bloating after \
            meals; vomiting after meals; heartburn at night; alternating bowel habit",
        findings: "epigastric tenderness; an enlarged liver; jaundiced sclerae; a distended abdomen; \
            hyperactive bowel sounds; shifting dullness; right upper quadrant guarding",
        tests: "a gastroscopy; a colonoscopy; liver function tests; a stool calprotectin; an abdominal \
            ultrasound; a breath test for helicobacter",
        drugs: "lansoprazole; mesalazine; loperamide; ursodeoxycholic acid; metoclopramide; omeprazole",
        plans: "start a gluten-free diet; book an endoscopy; eradicate helicobacter; refer for \
            gallbladder removal; increase dietary fibre; stop alcohol",
        related: [6, 7],
    },
    // Pulmonology.
    Vocabulary {
        complaints: "a productive cough; wheezing at night; coughing up blood; breathlessness on stairs; loud \
            snoring; sharp pain on breathing in; breathlessness lying flat",
        findings: "expiratory wheeze; fine basal crackles; finger clubbing; low oxygen saturation; dullness \
            at the left base; a prolonged expiration; a barrel chest",
        tests: "spirometry; a chest radiograph; a sputum culture; a CT of the chest; an overnight sleep \
            study; an arterial blood gas",
        drugs: "a salbutamol inhaler; tiotropium; beclometasone; doxycycline; prednisolone; montelukast",
        plans: "check inhaler technique; refer for bronchoscopy; support smoking cessation; start home \
            oxygen; enrol in pulmonary rehabilitation; drain the effusion",
        related: [0, 5],
    },
    // Dermatology.
    Vocabulary {
        complaints: "an itchy rash; a changing mole; scaly plaques on the elbows; hair loss in patches; \
            blisters on the hands; facial flushing; a sore that does not heal",
        findings: "erythematous papules; silvery scale; an irregular pigmented lesion; excoriations on the \
            arms; nail pitting; a pearly nodule; swelling of the lips",
        tests: "a punch biopsy; dermoscopy; patch testing; a skin swab; a fungal scraping; a total IgE \
            level",
        drugs: "an emollient; hydrocortisone cream; methotrexate; isotretinoin; cetirizine; \
            prednisolone; doxycycline",
        plans: "excise the lesion; start phototherapy; avoid the allergen; use sun protection daily; \
            photograph the lesions; apply ointment twice daily",
        related: [4, 1],
    },
    // Obstetrics.
    Vocabulary {
        complaints: "vaginal spotting; reduced fetal movements; vomiting after meals; regular contractions; \
            swollen ankles; lower abdominal cramps; leaking of fluid",
        findings: "a fundal height above dates; a closed cervix; a fetal heart rate of 140; protein in the \
            urine; a breech presentation; brisk reflexes; pitting ankle oedema",
        tests: "an anomaly scan; a glucose tolerance test; a cardiotocograph; a cervical swab; a growth \
            ultrasound; a blood group and antibody screen",
        drugs: "folic acid; labetalol; iron tablets; metoclopramide; anti-D; nifedipine; aspirin",
        plans: "plan induction of labour; repeat the growth scan; monitor fetal movements; book the \
            midwife clinic; discuss caesarean delivery; check blood pressure weekly",
        related: [3, 0],
    },
    // Psychiatry.
    Vocabulary {
        complaints: "low mood; panic attacks; hearing voices; racing thoughts; loss of interest; a racing \
            heart at night; episodes of memory loss",
        findings: "a flat affect; pressured speech; poor eye contact; paranoid ideas; an anxious manner; \
            psychomotor slowing; a resting tremor",
        tests: "a depression questionnaire; a risk assessment; a lithium level; a drug screen; a \
            cognitive assessment; an anxiety scale",
        drugs: "sertraline; olanzapine; lithium; mirtazapine; diazepam; amitriptyline; valproate",
        plans: "start cognitive behavioural therapy; agree a safety plan; involve the crisis team; refer \
            for counselling; increase the antidepressant; arrange supported housing",
        related: [2, 3],
    },
];
