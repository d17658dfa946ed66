//! Asking a run to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a run to end after the step it is in. Clones ask the same run; any thread may.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A flag that Ctrl-C raises, one for the whole process. A second Ctrl-C ends the process at
    /// once.
    ///
    /// # Errors
    /// When another handler of Ctrl-C is in place.
    #[cfg(feature = "terminal")]
    pub fn on_ctrl_c() -> crate::Result<Self> {
        static FLAG: std::sync::OnceLock<(StopFlag, Option<String>)> = std::sync::OnceLock::new();
        let (flag, fault) = FLAG.get_or_init(|| {
            let flag = StopFlag::new();
            let raised = flag.clone();
            let handler = move || {
                if raised.is_stopped() {
                    // What a shell expects of a process that SIGINT ended.
                    std::process::exit(130);
                }
                raised.stop();
                eprintln!("\nstopping after this step; press Ctrl-C again to end at once");
            };
            // A script that starts a run in the background has the signal ignored, which is no
            // handler of anybody's: whoever sends it all the same means the run.
            let set = match is_interrupt_ignored() {
                true => ctrlc::set_handler(handler),
                false => ctrlc::try_set_handler(handler),
            };
            (flag, set.err().map(|e| e.to_string()))
        });
        match fault {
            None => Ok(flag.clone()),
            Some(e) => Err(crate::Error::new(&format!("Ctrl-C cannot be caught: {e}"))),
        }
    }
}

/// Whether this process was started with SIGINT ignored; `false` where the system does not say.
#[cfg(feature = "terminal")]
fn is_interrupt_ignored() -> bool {
    const SIGINT: u32 = 2;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGINT - 1) & 1 == 1)
}
