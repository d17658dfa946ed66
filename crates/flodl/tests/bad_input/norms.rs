//! Norms.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    ("LayerNorm size 0", || unit(LayerNorm::new(0)), ""),
    ("LayerNorm no sizes", || unit(LayerNorm::over(&[])), ""),
    ("LayerNorm width", || unit(LayerNorm::new(4)?.forward(&v(&[2, 3]))), ""),
    ("LayerNorm rank", || unit(LayerNorm::over(&[3, 4])?.forward(&v(&[4]))), ""),
    ("LayerNorm dtype", || unit(LayerNorm::new(4)?.forward(&w(&[2, 4]))), ""),
    ("LayerNorm integers", || unit(LayerNorm::new(4)?.forward(&n(&[2, 4]))), ""),
    ("LayerNorm device", || unit(LayerNorm::on_device(4, Device::CUDA(0))), ""),
    ("RMSNorm size 0", || unit(RMSNorm::new(0)), ""),
    ("RMSNorm no sizes", || unit(RMSNorm::over(&[])), ""),
    ("RMSNorm width", || unit(RMSNorm::new(4)?.forward(&v(&[2, 3]))), ""),
    ("RMSNorm rank", || unit(RMSNorm::over(&[3, 4])?.forward(&v(&[4]))), ""),
    ("RMSNorm dtype", || unit(RMSNorm::new(4)?.forward(&w(&[2, 4]))), ""),
    ("RMSNorm integers", || unit(RMSNorm::new(4)?.forward(&n(&[2, 4]))), ""),
    ("RMSNorm device", || unit(RMSNorm::on_device(4, Device::CUDA(0))), ""),
    ("BatchNorm features 0", || unit(BatchNorm::new(0)), ""),
    ("BatchNorm rank", || unit(BatchNorm::new(2)?.forward(&v(&[2, 2, 2, 2]))), ""),
    ("BatchNorm features", || unit(BatchNorm::new(3)?.forward(&v(&[1, 2, 5]))), ""),
    ("BatchNorm one value", || unit(BatchNorm::new(2)?.forward(&v(&[1, 2, 1]))), ""),
    ("BatchNorm dtype", || unit(BatchNorm::new(2)?.forward(&w(&[1, 2, 5]))), ""),
    ("BatchNorm integers", || unit(BatchNorm::new(2)?.forward(&n(&[1, 2, 5]))), ""),
    (
        "BatchNorm untrained",
        || {
            let bn = BatchNorm::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5])))
        },
        "",
    ),
    ("BatchNorm1d features 0", || unit(BatchNorm1d::new(0)), ""),
    ("BatchNorm1d rank", || unit(BatchNorm1d::new(2)?.forward(&v(&[2, 2, 2, 2]))), ""),
    ("BatchNorm1d features", || unit(BatchNorm1d::new(3)?.forward(&v(&[1, 2, 5]))), ""),
    ("BatchNorm1d one value", || unit(BatchNorm1d::new(2)?.forward(&v(&[1, 2, 1]))), ""),
    ("BatchNorm1d dtype", || unit(BatchNorm1d::new(2)?.forward(&w(&[1, 2, 5]))), ""),
    ("BatchNorm1d integers", || unit(BatchNorm1d::new(2)?.forward(&n(&[1, 2, 5]))), ""),
    (
        "BatchNorm1d untrained",
        || {
            let bn = BatchNorm1d::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5])))
        },
        "",
    ),
    ("BatchNorm2d features 0", || unit(BatchNorm2d::new(0)), ""),
    ("BatchNorm2d rank", || unit(BatchNorm2d::new(2)?.forward(&v(&[2, 2, 2, 2, 2]))), ""),
    ("BatchNorm2d features", || unit(BatchNorm2d::new(3)?.forward(&v(&[1, 2, 5, 5]))), ""),
    ("BatchNorm2d one value", || unit(BatchNorm2d::new(2)?.forward(&v(&[1, 2, 1, 1]))), ""),
    ("BatchNorm2d dtype", || unit(BatchNorm2d::new(2)?.forward(&w(&[1, 2, 5, 5]))), ""),
    ("BatchNorm2d integers", || unit(BatchNorm2d::new(2)?.forward(&n(&[1, 2, 5, 5]))), ""),
    (
        "BatchNorm2d untrained",
        || {
            let bn = BatchNorm2d::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5, 5])))
        },
        "",
    ),
    ("BatchNorm3d features 0", || unit(BatchNorm3d::new(0)), ""),
    ("BatchNorm3d rank", || unit(BatchNorm3d::new(2)?.forward(&v(&[2, 2, 2, 2, 2, 2]))), ""),
    ("BatchNorm3d features", || unit(BatchNorm3d::new(3)?.forward(&v(&[1, 2, 5, 5, 5]))), ""),
    ("BatchNorm3d one value", || unit(BatchNorm3d::new(2)?.forward(&v(&[1, 2, 1, 1, 1]))), ""),
    ("BatchNorm3d dtype", || unit(BatchNorm3d::new(2)?.forward(&w(&[1, 2, 5, 5, 5]))), ""),
    ("BatchNorm3d integers", || unit(BatchNorm3d::new(2)?.forward(&n(&[1, 2, 5, 5, 5]))), ""),
    (
        "BatchNorm3d untrained",
        || {
            let bn = BatchNorm3d::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5, 5, 5])))
        },
        "",
    ),
    ("GroupNorm groups", || unit(GroupNorm::new(3, 4)), ""),
    ("GroupNorm groups 0", || unit(GroupNorm::new(0, 4)), ""),
    ("GroupNorm channels 0", || unit(GroupNorm::new(1, 0)), ""),
    ("GroupNorm rank", || unit(GroupNorm::new(2, 4)?.forward(&v(&[4]))), ""),
    ("GroupNorm channels", || unit(GroupNorm::new(2, 4)?.forward(&v(&[2, 6, 3]))), ""),
    ("GroupNorm dtype", || unit(GroupNorm::new(2, 4)?.forward(&w(&[2, 4, 3]))), ""),
    ("GroupNorm integers", || unit(GroupNorm::new(2, 4)?.forward(&n(&[2, 4, 3]))), ""),
    ("InstanceNorm features 0", || unit(InstanceNorm::new(0, true)), ""),
    ("InstanceNorm rank", || unit(InstanceNorm::new(2, true)?.forward(&v(&[2, 2]))), ""),
    ("InstanceNorm features", || unit(InstanceNorm::new(3, true)?.forward(&v(&[1, 2, 5]))), ""),
    ("InstanceNorm one value", || unit(InstanceNorm::new(2, false)?.forward(&v(&[1, 2, 1]))), ""),
    ("InstanceNorm dtype", || unit(InstanceNorm::new(2, true)?.forward(&w(&[1, 2, 5]))), ""),
    ("InstanceNorm integers", || unit(InstanceNorm::new(2, true)?.forward(&n(&[1, 2, 5]))), ""),
    (
        "InstanceNorm untrained",
        || {
            let norm = InstanceNorm::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5])))
        },
        "",
    ),
    ("InstanceNorm1d features 0", || unit(InstanceNorm1d::new(0, true)), ""),
    ("InstanceNorm1d rank", || unit(InstanceNorm1d::new(2, true)?.forward(&v(&[2, 2, 2, 2]))), ""),
    ("InstanceNorm1d features", || unit(InstanceNorm1d::new(3, true)?.forward(&v(&[1, 2, 5]))), ""),
    (
        "InstanceNorm1d one value",
        || unit(InstanceNorm1d::new(2, false)?.forward(&v(&[1, 2, 1]))),
        "",
    ),
    ("InstanceNorm1d dtype", || unit(InstanceNorm1d::new(2, true)?.forward(&w(&[1, 2, 5]))), ""),
    ("InstanceNorm1d integers", || unit(InstanceNorm1d::new(2, true)?.forward(&n(&[1, 2, 5]))), ""),
    (
        "InstanceNorm1d untrained",
        || {
            let norm = InstanceNorm1d::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5])))
        },
        "",
    ),
    ("InstanceNorm2d features 0", || unit(InstanceNorm2d::new(0, true)), ""),
    (
        "InstanceNorm2d rank",
        || unit(InstanceNorm2d::new(2, true)?.forward(&v(&[2, 2, 2, 2, 2]))),
        "",
    ),
    (
        "InstanceNorm2d features",
        || unit(InstanceNorm2d::new(3, true)?.forward(&v(&[1, 2, 5, 5]))),
        "",
    ),
    (
        "InstanceNorm2d one value",
        || unit(InstanceNorm2d::new(2, false)?.forward(&v(&[1, 2, 1, 1]))),
        "",
    ),
    ("InstanceNorm2d dtype", || unit(InstanceNorm2d::new(2, true)?.forward(&w(&[1, 2, 5, 5]))), ""),
    (
        "InstanceNorm2d integers",
        || unit(InstanceNorm2d::new(2, true)?.forward(&n(&[1, 2, 5, 5]))),
        "",
    ),
    (
        "InstanceNorm2d untrained",
        || {
            let norm = InstanceNorm2d::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5, 5])))
        },
        "",
    ),
    ("InstanceNorm3d features 0", || unit(InstanceNorm3d::new(0, true)), ""),
    (
        "InstanceNorm3d rank",
        || unit(InstanceNorm3d::new(2, true)?.forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "",
    ),
    (
        "InstanceNorm3d features",
        || unit(InstanceNorm3d::new(3, true)?.forward(&v(&[1, 2, 5, 5, 5]))),
        "",
    ),
    (
        "InstanceNorm3d one value",
        || unit(InstanceNorm3d::new(2, false)?.forward(&v(&[1, 2, 1, 1, 1]))),
        "",
    ),
    (
        "InstanceNorm3d dtype",
        || unit(InstanceNorm3d::new(2, true)?.forward(&w(&[1, 2, 5, 5, 5]))),
        "",
    ),
    (
        "InstanceNorm3d integers",
        || unit(InstanceNorm3d::new(2, true)?.forward(&n(&[1, 2, 5, 5, 5]))),
        "",
    ),
    (
        "InstanceNorm3d untrained",
        || {
            let norm = InstanceNorm3d::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5, 5, 5])))
        },
        "",
    ),
    ("LocalResponseNorm size 0", || unit(LocalResponseNorm::new(0).forward(&v(&[1, 2, 3]))), ""),
    ("LocalResponseNorm rank", || unit(LocalResponseNorm::new(2).forward(&v(&[2, 3]))), ""),
    ("LocalResponseNorm integers", || unit(LocalResponseNorm::new(2).forward(&n(&[1, 2, 3]))), ""),
];
