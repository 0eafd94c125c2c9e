//! The machine under test: scenarios as text, and random schedules with deliberate faults.

mod scenarios;
mod schedules;
mod world;
