//! A hospital: a member, a custodian, or both, behind one link.

use cloister_params::policy::Policy;
use cloister_wire::frame::Frame;
use rand_core::CryptoRng;

use crate::custodian::{Custodian, CustodianOutput};
use crate::fault::Fault;
use crate::member::{Member, MemberOutput};

/// The state machines of one hospital. Each frame is passed to the roles that it is for.
#[derive(Debug, Default)]
pub struct Hospital {
    /// The member, if the consortium file lists the hospital as one.
    pub member: Option<Member>,
    /// The custodian, if the consortium file lists the hospital as one.
    pub custodian: Option<Custodian>,
}

/// What a hospital's driver must do.
#[derive(Clone, PartialEq, Debug)]
pub enum HospitalOutput {
    /// The member asks for it.
    Member(MemberOutput),
    /// The custodian asks for it.
    Custodian(CustodianOutput),
}

impl Hospital {
    /// A hospital with both roles.
    pub fn new(member: Member, custodian: Custodian) -> Self {
        Self { member: Some(member), custodian: Some(custodian) }
    }

    /// Handles a frame from the coordinator. The result is what each role objects to. A fault that both roles find is listed
    /// once. A plan that the member refuses is not listed, because [`MemberOutput::Refused`] reports it.
    pub fn handle_frame(&mut self, frame: &Frame, random: &mut impl CryptoRng) -> Vec<Fault> {
        let member = self.member.as_mut().filter(|_| frame.is_for_members());
        let member_fault = member.and_then(|member| member.handle_frame(frame.clone(), random).err());
        let custodian = self.custodian.as_mut().filter(|_| frame.is_for_custodians());
        let custodian_fault =
            custodian.and_then(|custodian| custodian.handle_frame(frame.clone(), random).err());
        let custodian_fault = custodian_fault.filter(|fault| Some(fault) != member_fault.as_ref());
        let member_fault = member_fault.filter(|fault| !matches!(fault, Fault::PlanRefused { .. }));
        member_fault.into_iter().chain(custodian_fault).collect()
    }

    /// Judges plans by another policy from the next one on (`PLAN-20`). It has a privacy budget if the present one has.
    pub fn replace_policy(&mut self, policy: &Policy) {
        if let Some(member) = &mut self.member {
            member.replace_policy(policy.clone());
        }
        if let Some(custodian) = &mut self.custodian {
            custodian.replace_policy(policy.clone());
        }
    }

    /// The next thing to do, in the order in which it must be done.
    pub fn poll_output(&mut self) -> Option<HospitalOutput> {
        let custodian = self.custodian.as_mut().and_then(Custodian::poll_output);
        custodian
            .map(HospitalOutput::Custodian)
            .or_else(|| self.member.as_mut().and_then(Member::poll_output).map(HospitalOutput::Member))
    }
}
