//! Privacy that is accounted for: exact noise, what it costs, and the ledger that keeps the cost within a budget.

pub mod accountant;
pub mod accuracy;
pub mod budget;
pub mod closed;
pub mod concentrated;
pub mod discrete_gaussian;
pub mod explanation;
pub mod ledger;
pub mod planning;
pub mod release;
pub mod statement;
