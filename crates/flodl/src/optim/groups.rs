//! A learning rate for groups that differ.

use super::Optimizer;

/// The ratio of each group's learning rate to the first one's, so that a scheduler moves them all:
/// PyTorch's schedulers scale the base learning rate of each group in the same way.
///
/// ```
/// use flodl::*;
/// let (trunk, head) = (Linear::new(4, 4)?, Linear::new(4, 1)?);
/// let mut optimizer = Adam::with_groups()
///     .group(&trunk.parameters(), 1e-4)
///     .group(&head.parameters(), 1e-3)
///     .build();
/// let groups = LrGroups::of(&optimizer);
/// let schedule = CosineScheduler::new(1e-4, 0.0, 100);
/// for step in 0..=50 {
///     groups.set(&mut optimizer, schedule.lr(step));
/// }
/// let lrs = optimizer.group_lrs();
/// assert!((lrs[0] - 5e-5).abs() < 1e-12 && (lrs[1] - 5e-4).abs() < 1e-12);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LrGroups {
    ratios: Vec<f64>,
}

impl LrGroups {
    /// The ratios as they are now: take them before a scheduler changes them. Where the first
    /// group's learning rate is 0, that of the first group which learns counts as 1.
    pub fn of(optimizer: &dyn Optimizer) -> Self {
        let lrs = optimizer.group_lrs();
        let first = lrs.iter().copied().find(|&lr| lr > 0.0);
        // Equal learning rates have the ratio 1 exactly.
        let ratio = |lr: f64| first.map_or(1.0, |first| lr / first);
        LrGroups { ratios: lrs.into_iter().map(ratio).collect() }
    }

    /// Gives the first group this learning rate, and the others theirs in proportion.
    pub fn set(&self, optimizer: &mut dyn Optimizer, lr: f64) {
        if self.ratios.len() <= 1 {
            return optimizer.set_lr(lr);
        }
        for (group, ratio) in self.ratios.iter().enumerate() {
            optimizer.set_group_lr(group, lr * ratio);
        }
    }
}
