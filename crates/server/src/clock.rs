//! Wall time, as step machines and logs are told it.

use std::time::{SystemTime, UNIX_EPOCH};

use ottla_model::Millis;

/// The time now. A clock before 1970 reads as 0.
pub fn now() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(since_epoch.as_millis() as i64)
}
