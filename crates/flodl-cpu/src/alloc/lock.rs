//! A lock for what is held very briefly and very often.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A mutex that is let go by a plain store. One that knows its waiters needs a second locked
/// instruction for that, which costs as much as the rest of a small allocation (bench:
/// `models --only op_chain`). Those who wait look again, ever more rarely.
pub(super) struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard, of which there is one at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

/// Looks before a waiting thread lets others run, and before it sleeps.
const LOOKS: usize = 64;
const YIELDS: usize = 256;
/// How long it sleeps then.
const PAUSE: Duration = Duration::from_micros(50);

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Waits for the value. Whoever holds it must not ask for it again.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        if self.held.swap(true, Ordering::Acquire) {
            self.wait();
        }
        Guard(self)
    }

    #[cold]
    fn wait(&self) {
        let mut looks = 0;
        while self.held.load(Ordering::Relaxed) || self.held.swap(true, Ordering::Acquire) {
            looks += 1;
            match looks {
                ..LOOKS => std::hint::spin_loop(),
                LOOKS..YIELDS => std::thread::yield_now(),
                _ => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// The value of a lock, until this is dropped.
pub(super) struct Guard<'a, T>(&'a Lock<T>);

// SAFETY: a shared guard gives shared access to the value alone.
unsafe impl<T: Sync> Sync for Guard<'_, T> {}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: nobody else has a guard.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: nobody else has a guard, and this one is borrowed exclusively.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        let times = if cfg!(miri) { 20 } else { 20_000 };
        let lock = Lock::new([0u64; 4]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..times {
                        let mut value = lock.lock();
                        let next = value[0] + 1;
                        value.iter_mut().for_each(|v| {
                            assert_eq!(*v, next - 1);
                            *v = next;
                        });
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), [4 * times; 4]);
    }

    #[test]
    fn who_waits_long_gets_it_and_a_panic_lets_go() {
        let lock = Lock::new(1);
        std::thread::scope(|scope| {
            let held = lock.lock();
            let waiting = scope.spawn(|| *lock.lock() += 1);
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(held);
        });
        let panics = std::panic::AssertUnwindSafe(|| {
            let _held = lock.lock();
            panic!("while it is held");
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(*lock.lock(), 2);
    }
}
