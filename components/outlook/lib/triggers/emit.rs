//! Emits changes, and reports what is passed over. The position moves after each.

use super::{
    change::{Change, Fault},
    changes::Changes,
};
use sailor::prelude::*;
use serde::Serialize;

/// Reports what is passed over.
///
/// # Errors
/// Returns an error if a report cannot be published.
pub async fn report<C, T: Serialize>(
    cx: &Context<C, T>,
    changes: &mut Changes<'_>,
    faults: Vec<Fault>,
) -> anyhow::Result<()> {
    for fault in faults {
        cx.error(fault.error).await?;
        changes.mark_reported(fault.fingerprints);
    }
    Ok(())
}

/// Emits a change with this body. One that can never be emitted is reported and passed over.
///
/// # Errors
/// Returns an error if the change can be emitted only later.
pub async fn emit<C, T: Serialize + Send>(
    cx: &Context<C, T>,
    changes: &mut Changes<'_>,
    change: &Change,
    body: T,
) -> anyhow::Result<()> {
    if let Some(failed) = cx.data_each([body]).await.pop() {
        if !failed.is_permanent {
            return Err(failed.into_error());
        }
        cx.error(change.not_emitted(failed.into_error())).await?;
    }
    changes.mark_done(change);
    Ok(())
}
