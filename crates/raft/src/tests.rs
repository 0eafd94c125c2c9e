//! The machine under test: random schedules with deliberate faults.

mod schedules;
mod world;
