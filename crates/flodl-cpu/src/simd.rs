//! One source, several instruction sets: kernels are generic over [`Arch`], and [`dispatch`]
//! compiles each for AVX-512, AVX2 + FMA and the baseline, and picks at run time.
//!
//! The bodies are plain Rust loops that the compiler vectorises under the enabled features; only
//! the matrix kernels use intrinsics.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What every CPU of the target has (SSE2 on x86-64, NEON on AArch64).
    Baseline = 1,
    /// AVX2 with FMA.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ, VL with FMA.
    Avx512 = 3,
}

/// Environment variable that lowers the instruction set: `baseline`, `avx2`, `avx512` (without the
/// tile unit) or `amx`.
pub const ISA_ENV: &str = "FLODL_ISA";

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set that [`dispatch`] uses.
#[inline]
pub fn isa() -> Isa {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Isa::Baseline,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        _ => detect(),
    }
}

/// Limits the instruction set to `limit`, for tests and comparisons; never exceeds the CPU's.
pub fn limit_isa(limit: Isa) {
    CHOSEN.store(supported().min(limit) as u8, Ordering::Relaxed);
}

static AMX: AtomicU8 = AtomicU8::new(2);

/// Whether large products of `f32` use the CPU's tile unit (Intel's AMX): it is there, and neither
/// [`set_amx`] nor the environment (`FLODL_ISA=avx512`) turns it off.
#[inline]
pub fn amx() -> bool {
    match AMX.load(Ordering::Relaxed) {
        2 => {
            set_amx(std::env::var(ISA_ENV).map_or(true, |isa| isa == "amx"));
            amx()
        }
        on => on == 1 && isa() == Isa::Avx512,
    }
}

/// Lets large products of `f32` use the CPU's tile unit (Intel's AMX), or keeps all of them on its
/// vector units; where there is no such unit, nothing changes.
///
/// The unit multiplies numbers of 8 significant bits. An `f32`, which has 24, is the sum of three of
/// them, and a product of two the sum of six products of these; what that leaves out is less than
/// 2⁻²³ of it. Fewer roundings make the sums of products more exact than those of the vector units, but
/// what is smaller than 2⁻¹²⁶ is 0: products, sums, and the lower bits of values below 2⁻¹¹⁰. It takes
/// half to three quarters of the time.
///
/// ```
/// flodl_cpu::simd::set_amx(false);
/// assert!(!flodl_cpu::simd::amx());
/// ```
pub fn set_amx(on: bool) {
    // Tests do on the vector units what the tile unit does, where there is none.
    let there = amx_supported() || cfg!(test) && supported() == Isa::Avx512;
    AMX.store((on && there).into(), Ordering::Relaxed);
}

/// Whether this CPU has AMX for `bf16`, and the system lets this process use it, which it must be
/// asked for once.
pub(crate) fn amx_supported() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    {
        const TILES: u32 = 1 << 24;
        const BF16: u32 = 1 << 22;
        const REQUEST: libc::c_ulong = 0x1023;
        const TILE_DATA: libc::c_ulong = 18;
        if supported() == Isa::Avx512 {
            // Safe in newer compilers.
            #[allow(unused_unsafe)]
            // SAFETY: CPUs with AVX-512 have this leaf.
            let features = unsafe { std::arch::x86_64::__cpuid_count(7, 0) }.edx;
            // SAFETY: the call reads and writes no memory of this process.
            return features & (TILES | BF16) == TILES | BF16
                && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) } == 0;
        }
    }
    false
}

/// Asks for the `len` values from `p` on to be brought into the first-level cache. Any address will
/// do: what is not there is not brought.
#[inline(always)]
pub fn prefetch<T>(p: *const T, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for byte in (0..len * size_of::<T>() + 63).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast::<i8>().wrapping_add(byte)) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (p, len);
}

#[cold]
fn detect() -> Isa {
    let limit = match std::env::var(ISA_ENV).as_deref() {
        Ok("baseline") => Isa::Baseline,
        Ok("avx2") => Isa::Avx2,
        _ => Isa::Avx512,
    };
    limit_isa(limit);
    supported().min(limit)
}

/// The best instruction set that this CPU has.
pub fn supported() -> Isa {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Baseline
}

/// What a kernel may know of the instruction set it is compiled for.
pub trait Arch: Copy + Send + Sync + 'static {
    /// Whether a fused multiply-add is one instruction.
    const FMA: bool;
    /// The instruction set.
    const ISA: Isa;
}

/// The baseline of the target.
#[derive(Clone, Copy)]
pub struct Baseline;
/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub struct Avx2;
/// AVX-512 with FMA.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Arch for Baseline {
    const FMA: bool = cfg!(target_arch = "aarch64");
    const ISA: Isa = Isa::Baseline;
}
impl Arch for Avx2 {
    const FMA: bool = true;
    const ISA: Isa = Isa::Avx2;
}
impl Arch for Avx512 {
    const FMA: bool = true;
    const ISA: Isa = Isa::Avx512;
}

/// A kernel body, to be compiled once for each instruction set. Mark `run` `#[inline(always)]`.
pub trait Kernel {
    /// What the kernel gives back.
    type Out;
    /// The best instruction set that suits it. For loops with strides the compiler takes the gathers
    /// and scatters of AVX-512, which are several times slower than the shuffles it takes for AVX2.
    const LIMIT: Isa = Isa::Avx512;
    /// The body.
    fn run<A: Arch>(self) -> Self::Out;
}

/// Runs `kernel` on the best instruction set.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Out {
    #[cfg(target_arch = "x86_64")]
    match isa().min(K::LIMIT) {
        // SAFETY: `isa` gives no more than `supported` found in the CPU.
        Isa::Avx512 => return unsafe { run_avx512(kernel) },
        // SAFETY: likewise.
        Isa::Avx2 => return unsafe { run_avx2(kernel) },
        Isa::Baseline => {}
    }
    kernel.run::<Baseline>()
}

/// # Safety
/// The CPU has the features that the attribute names.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx512>()
}

/// # Safety
/// The CPU has the features that the attribute names.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx2>()
}

/// Declares functions whose body is compiled once for each instruction set and dispatched.
///
/// Inside the body `A` is the [`Arch`]; `A to Avx2` is never more than that ([`Kernel::LIMIT`]). The
/// function may have type parameters with bounds, given in angle brackets, and takes arguments by
/// value or reference.
///
/// ```
/// flodl_cpu::simd_fn! {
///     /// Adds `a * x` to `y`.
///     pub fn axpy<A, (T: flodl_cpu::element::Float)>(a: T, x: &'x [T], y: &'x mut [T]) {
///         for (y, &x) in y.iter_mut().zip(x) {
///             *y = x.mul_add_::<A>(a, *y);
///         }
///     }
/// }
/// let mut y = [1.0f32, 2.0];
/// axpy(2.0, &[10.0, 20.0], &mut y);
/// assert_eq!(y, [21.0, 42.0]);
/// ```
#[macro_export]
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$A:ident $(to $limit:ident)? $(, ($T:ident: $($bound:tt)+))*>(
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name<'x, $($T: $($bound)+),*>($($arg: $ty),*) $(-> $out)? {
            struct Body<'x, $($T: $($bound)+),*> {
                args: ($($ty,)*),
                life: std::marker::PhantomData<(&'x (), $($T,)*)>,
            }
            impl<'x, $($T: $($bound)+),*> $crate::simd::Kernel for Body<'x, $($T),*> {
                type Out = $crate::simd_fn!(@out $($out)?);
                $(const LIMIT: $crate::simd::Isa = $crate::simd::Isa::$limit;)?
                #[inline(always)]
                fn run<$A: $crate::simd::Arch>(self) -> Self::Out {
                    let ($($arg,)*) = self.args;
                    $body
                }
            }
            $crate::simd::dispatch(Body::<'x, $($T),*> {
                args: ($($arg,)*),
                life: std::marker::PhantomData,
            })
        }
    };
    (@out) => { () };
    (@out $out:ty) => { $out };
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Which;
    impl Kernel for Which {
        type Out = Isa;
        #[inline(always)]
        fn run<A: Arch>(self) -> Isa {
            A::ISA
        }
    }

    #[test]
    fn dispatch_runs_what_isa_names() {
        assert_eq!(dispatch(Which), isa());
        assert!(isa() <= supported());
    }

    simd_fn! {
        fn limited<A to Avx2>() -> Isa {
            A::ISA
        }
    }

    #[test]
    fn dispatch_runs_no_more_than_the_limit() {
        assert_eq!(limited(), isa().min(Isa::Avx2));
    }
}
