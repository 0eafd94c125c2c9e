//! stub
#[derive(Clone)]
pub struct ControllerHandle;
