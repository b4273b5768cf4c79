//! A replica that can be killed.

use super::{
    account::Account,
    rig::{Replica, Rig},
};
use sailor::oauth2::{Error, internals::SessionConfig};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Handle, Runtime};

/// A replica with its own thread and the real clock. A kill ends it between two steps, like the end of a process: nothing
/// is finished, saved or reported.
pub struct Process {
    replica: Arc<Replica>,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Process {
    /// Starts one with the stored configuration.
    pub fn start(rig: &Rig, account: &Arc<Account>, config: SessionConfig) -> Arc<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let replica = Arc::new(rig.replica_using(account.clone(), config));
        Arc::new(Self {
            replica,
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// A GET request to the provider's API; `None` if the process was killed in the meantime.
    pub async fn get(&self) -> Option<Result<Value, Error>> {
        let replica = self.replica.clone();
        match self.handle.spawn(async move { replica.get().await }).await {
            Ok(result) => Some(result),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    pub fn kill(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
