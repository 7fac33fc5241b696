//! What callers are told when the account store did not do it.

use magpie_core::refusal::{Effect, Reason, Refusal};
use magpie_store::account::Error;

use super::limits::OVERLOADED_RETRY_AFTER;

/// The refusal for a failure of the account store, which is logged here.
pub fn store_refusal(error: Error) -> Refusal {
    match error {
        Error::Busy => Refusal::new(Reason::Overloaded, "the node is busy: try again soon")
            .with_retry_after(OVERLOADED_RETRY_AFTER),
        Error::Full => Refusal::new(
            Reason::StorageFull,
            "the node's disk has too little free space: try again later",
        ),
        Error::Failed(_) | Error::Damaged(_) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the account store failed");
            Refusal::new(Reason::Internal, "the node failed: its log has the details")
                .with_effect(Effect::Unknown)
        }
    }
}
