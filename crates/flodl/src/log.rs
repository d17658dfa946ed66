//! How much the library says, and under which name.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};

/// The environment variable that sets the verbosity: a name or a number from 0 to 4.
pub const ENV_VAR: &str = "FLODL_VERBOSITY";

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verbosity {
    /// Nothing but errors.
    Quiet = 0,
    /// What a user waits for.
    Normal = 1,
    /// What a user may want to know.
    Verbose = 2,
    /// What helps to find a fault.
    Debug = 3,
    /// Everything.
    Trace = 4,
}

impl Verbosity {
    const ALL: [Verbosity; 5] = [
        Verbosity::Quiet,
        Verbosity::Normal,
        Verbosity::Verbose,
        Verbosity::Debug,
        Verbosity::Trace,
    ];
}

impl std::str::FromStr for Verbosity {
    type Err = crate::Error;

    fn from_str(s: &str) -> crate::Result<Self> {
        let fits = |v: &&Verbosity| {
            format!("{v:?}").eq_ignore_ascii_case(s.trim()) || (**v as u8).to_string() == s.trim()
        };
        Verbosity::ALL.iter().find(fits).copied().ok_or_else(|| {
            let what = format!("{s:?} is none of quiet, normal, verbose, debug, trace, 0 to 4");
            crate::Error::invalid("Verbosity", what)
        })
    }
}

/// Not asked for yet.
const UNSET: u8 = u8::MAX;
static LEVEL: AtomicU8 = AtomicU8::new(UNSET);
static NODE: RwLock<Option<String>> = RwLock::new(None);

thread_local! {
    static DEVICE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sets how much is said, from now on, in all threads.
pub fn set_verbosity(level: Verbosity) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// How much is said: what was set, else what [`ENV_VAR`] says, else [`Verbosity::Normal`].
pub fn verbosity() -> Verbosity {
    let level = match LEVEL.load(Ordering::Relaxed) {
        UNSET => {
            let level = std::env::var(ENV_VAR).ok().and_then(|v| v.parse().ok());
            let level = level.unwrap_or(Verbosity::Normal) as u8;
            // Another thread that was faster, or a call of set_verbosity, wins.
            match LEVEL.compare_exchange(UNSET, level, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => level,
                Err(now) => now,
            }
        }
        level => level,
    };
    Verbosity::ALL[usize::from(level).min(4)]
}

/// Whether messages of a level are said.
pub fn enabled(level: Verbosity) -> bool {
    level <= verbosity()
}

/// A name of this machine that stands before messages.
pub fn set_node_label(host: impl Into<String>) {
    *NODE.write().unwrap_or_else(PoisonError::into_inner) = Some(host.into());
}

/// The device that this thread works for, which stands before its messages.
pub fn set_thread_device(local_dev: u8, global_rank: Option<usize>) {
    let label = match global_rank {
        Some(rank) => format!("rank {rank}, device {local_dev}"),
        None => format!("device {local_dev}"),
    };
    DEVICE.set(Some(label));
}

/// Writes a message to standard error if its level is enabled.
///
/// ```
/// use flodl::*;
/// log_message(Verbosity::Debug, format_args!("{} batches", 7));
/// ```
pub fn log_message(level: Verbosity, message: impl fmt::Display) {
    if !enabled(level) {
        return;
    }
    let node = NODE.read().unwrap_or_else(PoisonError::into_inner).clone();
    let labels: Vec<String> =
        [node, DEVICE.with_borrow(Clone::clone)].into_iter().flatten().collect();
    let prefix =
        if labels.is_empty() { String::new() } else { format!("[{}] ", labels.join(", ")) };
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{prefix}{message}");
}
