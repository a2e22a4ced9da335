//! What the records can serve for, and what they do not replace.

/// A table of rules that ask for records.
pub(super) const TABLE: &str = "\
<p>This is no legal advice, and no statement that a rule is met. It says which parts of these records answer which \
question.</p>\
<div class=\"wide\"><table><thead><tr><th scope=\"col\">Rule</th><th scope=\"col\">It asks for</th>\
<th scope=\"col\">Here</th><th scope=\"col\">Not here</th></tr></thead><tbody>\
<tr><td>HIPAA § 164.312(b)</td><td>mechanisms that record activity in systems with health information</td>\
<td>who announced, uploaded, sealed and recomputed in each round, with signatures</td>\
<td>activity inside a hospital</td></tr>\
<tr><td>GDPR, Article 30</td><td>records of processing: purposes, categories, recipients</td>\
<td>the parties, and which sums went to whom</td><td>the purpose, and the categories of persons</td></tr>\
<tr><td>GDPR, Article 35</td><td>an assessment of the risk of processing</td>\
<td>what is told by design, and ε with its assumptions</td><td>the assessment itself</td></tr>\
<tr><td>EU AI Act, Article 12</td><td>automatic records over the lifetime of a high-risk system</td>\
<td>each change of the model, from round to round</td><td>how the model is used</td></tr>\
<tr><td>NIST SP 800-226</td><td>an evaluation of a claim of differential privacy</td>\
<td>unit, δ, ε, mechanism of each release, and what no ε covers</td><td>a review of the program</td></tr>\
</tbody></table></div>";
