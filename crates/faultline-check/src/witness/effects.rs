use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One effect of a handler, written where a duplicate stays visible.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// The job that caused it.
    pub job: Uuid,
    /// The lease under which the handler ran.
    pub lease: Uuid,
}
