use crate::Named;
pub const TESTS: &[Named] = &[];
