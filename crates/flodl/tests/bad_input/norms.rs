//! Norms.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    (
        "LayerNorm size 0",
        || unit(LayerNorm::new(0)),
        "LayerNorm: normalised sizes [0] must be positive",
    ),
    (
        "LayerNorm no sizes",
        || unit(LayerNorm::over(&[])),
        "LayerNorm: normalised sizes [] must be positive",
    ),
    (
        "LayerNorm width",
        || unit(LayerNorm::new(4)?.forward(&v(&[2, 3]))),
        "LayerNorm: expected an input [..., 4], got shape [2, 3]",
    ),
    (
        "LayerNorm rank",
        || unit(LayerNorm::over(&[3, 4])?.forward(&v(&[4]))),
        "LayerNorm: expected an input [..., 3, 4], got shape [4]",
    ),
    (
        "LayerNorm dtype",
        || unit(LayerNorm::new(4)?.forward(&w(&[2, 4]))),
        "layer_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "LayerNorm integers",
        || unit(LayerNorm::new(4)?.forward(&n(&[2, 4]))),
        "layer_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "LayerNorm device",
        || unit(LayerNorm::on_device(4, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    ("RMSNorm size 0", || unit(RMSNorm::new(0)), "RMSNorm: normalised sizes [0] must be positive"),
    (
        "RMSNorm no sizes",
        || unit(RMSNorm::over(&[])),
        "RMSNorm: normalised sizes [] must be positive",
    ),
    (
        "RMSNorm width",
        || unit(RMSNorm::new(4)?.forward(&v(&[2, 3]))),
        "RMSNorm: expected an input [..., 4], got shape [2, 3]",
    ),
    (
        "RMSNorm rank",
        || unit(RMSNorm::over(&[3, 4])?.forward(&v(&[4]))),
        "RMSNorm: expected an input [..., 3, 4], got shape [4]",
    ),
    (
        "RMSNorm dtype",
        || unit(RMSNorm::new(4)?.forward(&w(&[2, 4]))),
        "rms_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "RMSNorm integers",
        || unit(RMSNorm::new(4)?.forward(&n(&[2, 4]))),
        "rms_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "RMSNorm device",
        || unit(RMSNorm::on_device(4, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "BatchNorm features 0",
        || unit(BatchNorm::new(0)),
        "BatchNorm: number of features 0 must be positive",
    ),
    (
        "BatchNorm rank",
        || unit(BatchNorm::new(2)?.forward(&v(&[2, 2, 2, 2]))),
        "BatchNorm: expected an input [N, 2] or [N, 2, L], got shape [2, 2, 2, 2]",
    ),
    (
        "BatchNorm features",
        || unit(BatchNorm::new(3)?.forward(&v(&[1, 2, 5]))),
        "BatchNorm: expected an input [N, 3] or [N, 3, L], got shape [1, 2, 5]",
    ),
    (
        "BatchNorm one value",
        || unit(BatchNorm::new(2)?.forward(&v(&[1, 2, 1]))),
        "BatchNorm: expected more than one value per channel in training, got shape [1, 2, 1]",
    ),
    (
        "BatchNorm dtype",
        || unit(BatchNorm::new(2)?.forward(&w(&[1, 2, 5]))),
        "batch_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "BatchNorm integers",
        || unit(BatchNorm::new(2)?.forward(&n(&[1, 2, 5]))),
        "batch_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "BatchNorm untrained",
        || {
            let bn = BatchNorm::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5])))
        },
        "BatchNorm: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "BatchNorm1d features 0",
        || unit(BatchNorm1d::new(0)),
        "BatchNorm: number of features 0 must be positive",
    ),
    (
        "BatchNorm1d rank",
        || unit(BatchNorm1d::new(2)?.forward(&v(&[2, 2, 2, 2]))),
        "BatchNorm: expected an input [N, 2] or [N, 2, L], got shape [2, 2, 2, 2]",
    ),
    (
        "BatchNorm1d features",
        || unit(BatchNorm1d::new(3)?.forward(&v(&[1, 2, 5]))),
        "BatchNorm: expected an input [N, 3] or [N, 3, L], got shape [1, 2, 5]",
    ),
    (
        "BatchNorm1d one value",
        || unit(BatchNorm1d::new(2)?.forward(&v(&[1, 2, 1]))),
        "BatchNorm: expected more than one value per channel in training, got shape [1, 2, 1]",
    ),
    (
        "BatchNorm1d dtype",
        || unit(BatchNorm1d::new(2)?.forward(&w(&[1, 2, 5]))),
        "batch_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "BatchNorm1d integers",
        || unit(BatchNorm1d::new(2)?.forward(&n(&[1, 2, 5]))),
        "batch_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "BatchNorm1d untrained",
        || {
            let bn = BatchNorm1d::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5])))
        },
        "BatchNorm: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "BatchNorm2d features 0",
        || unit(BatchNorm2d::new(0)),
        "BatchNorm2d: number of features 0 must be positive",
    ),
    (
        "BatchNorm2d rank",
        || unit(BatchNorm2d::new(2)?.forward(&v(&[2, 2, 2, 2, 2]))),
        "BatchNorm2d: expected an input [N, 2, H, W], got shape [2, 2, 2, 2, 2]",
    ),
    (
        "BatchNorm2d features",
        || unit(BatchNorm2d::new(3)?.forward(&v(&[1, 2, 5, 5]))),
        "BatchNorm2d: expected an input [N, 3, H, W], got shape [1, 2, 5, 5]",
    ),
    (
        "BatchNorm2d one value",
        || unit(BatchNorm2d::new(2)?.forward(&v(&[1, 2, 1, 1]))),
        "BatchNorm2d: expected more than one value per channel in training, got shape [1, 2, 1, 1]",
    ),
    (
        "BatchNorm2d dtype",
        || unit(BatchNorm2d::new(2)?.forward(&w(&[1, 2, 5, 5]))),
        "batch_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "BatchNorm2d integers",
        || unit(BatchNorm2d::new(2)?.forward(&n(&[1, 2, 5, 5]))),
        "batch_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "BatchNorm2d untrained",
        || {
            let bn = BatchNorm2d::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5, 5])))
        },
        "BatchNorm2d: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "BatchNorm3d features 0",
        || unit(BatchNorm3d::new(0)),
        "BatchNorm3d: number of features 0 must be positive",
    ),
    (
        "BatchNorm3d rank",
        || unit(BatchNorm3d::new(2)?.forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "BatchNorm3d: expected an input [N, 2, D, H, W], got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "BatchNorm3d features",
        || unit(BatchNorm3d::new(3)?.forward(&v(&[1, 2, 5, 5, 5]))),
        "BatchNorm3d: expected an input [N, 3, D, H, W], got shape [1, 2, 5, 5, 5]",
    ),
    (
        "BatchNorm3d one value",
        || unit(BatchNorm3d::new(2)?.forward(&v(&[1, 2, 1, 1, 1]))),
        "BatchNorm3d: expected more than one value per channel in training, got shape [1, 2, 1, 1, 1]",
    ),
    (
        "BatchNorm3d dtype",
        || unit(BatchNorm3d::new(2)?.forward(&w(&[1, 2, 5, 5, 5]))),
        "batch_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "BatchNorm3d integers",
        || unit(BatchNorm3d::new(2)?.forward(&n(&[1, 2, 5, 5, 5]))),
        "batch_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "BatchNorm3d untrained",
        || {
            let bn = BatchNorm3d::new(2)?;
            bn.eval();
            unit(bn.forward(&v(&[1, 2, 5, 5, 5])))
        },
        "BatchNorm3d: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "GroupNorm groups",
        || unit(GroupNorm::new(3, 4)),
        "GroupNorm: 3 groups must be positive and divide 4 channels",
    ),
    (
        "GroupNorm groups 0",
        || unit(GroupNorm::new(0, 4)),
        "GroupNorm: 0 groups must be positive and divide 4 channels",
    ),
    (
        "GroupNorm channels 0",
        || unit(GroupNorm::new(1, 0)),
        "GroupNorm: 1 groups must be positive and divide 0 channels",
    ),
    (
        "GroupNorm rank",
        || unit(GroupNorm::new(2, 4)?.forward(&v(&[4]))),
        "GroupNorm: expected an input [N, 4, ...], got shape [4]",
    ),
    (
        "GroupNorm channels",
        || unit(GroupNorm::new(2, 4)?.forward(&v(&[2, 6, 3]))),
        "GroupNorm: expected an input [N, 4, ...], got shape [2, 6, 3]",
    ),
    (
        "GroupNorm dtype",
        || unit(GroupNorm::new(2, 4)?.forward(&w(&[2, 4, 3]))),
        "group_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "GroupNorm integers",
        || unit(GroupNorm::new(2, 4)?.forward(&n(&[2, 4, 3]))),
        "group_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "InstanceNorm features 0",
        || unit(InstanceNorm::new(0, true)),
        "InstanceNorm: number of features 0 must be positive",
    ),
    (
        "InstanceNorm rank",
        || unit(InstanceNorm::new(2, true)?.forward(&v(&[2, 2]))),
        "InstanceNorm: expected an input [N, 2, spatial...], got shape [2, 2]",
    ),
    (
        "InstanceNorm features",
        || unit(InstanceNorm::new(3, true)?.forward(&v(&[1, 2, 5]))),
        "InstanceNorm: expected an input [N, 3, spatial...], got shape [1, 2, 5]",
    ),
    (
        "InstanceNorm one value",
        || unit(InstanceNorm::new(2, false)?.forward(&v(&[1, 2, 1]))),
        "instance_norm: expected [N, C, ...] with more than one value per channel, got shape [1, 2, 1]",
    ),
    (
        "InstanceNorm dtype",
        || unit(InstanceNorm::new(2, true)?.forward(&w(&[1, 2, 5]))),
        "group_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "InstanceNorm integers",
        || unit(InstanceNorm::new(2, true)?.forward(&n(&[1, 2, 5]))),
        "group_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "InstanceNorm untrained",
        || {
            let norm = InstanceNorm::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5])))
        },
        "InstanceNorm: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "InstanceNorm1d features 0",
        || unit(InstanceNorm1d::new(0, true)),
        "InstanceNorm1d: number of features 0 must be positive",
    ),
    (
        "InstanceNorm1d rank",
        || unit(InstanceNorm1d::new(2, true)?.forward(&v(&[2, 2, 2, 2]))),
        "InstanceNorm1d: expected an input [N, 2, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "InstanceNorm1d features",
        || unit(InstanceNorm1d::new(3, true)?.forward(&v(&[1, 2, 5]))),
        "InstanceNorm1d: expected an input [N, 3, L] or without N, got shape [1, 2, 5]",
    ),
    (
        "InstanceNorm1d one value",
        || unit(InstanceNorm1d::new(2, false)?.forward(&v(&[1, 2, 1]))),
        "instance_norm: expected [N, C, ...] with more than one value per channel, got shape [1, 2, 1]",
    ),
    (
        "InstanceNorm1d dtype",
        || unit(InstanceNorm1d::new(2, true)?.forward(&w(&[1, 2, 5]))),
        "group_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "InstanceNorm1d integers",
        || unit(InstanceNorm1d::new(2, true)?.forward(&n(&[1, 2, 5]))),
        "group_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "InstanceNorm1d untrained",
        || {
            let norm = InstanceNorm1d::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5])))
        },
        "InstanceNorm1d: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "InstanceNorm2d features 0",
        || unit(InstanceNorm2d::new(0, true)),
        "InstanceNorm2d: number of features 0 must be positive",
    ),
    (
        "InstanceNorm2d rank",
        || unit(InstanceNorm2d::new(2, true)?.forward(&v(&[2, 2, 2, 2, 2]))),
        "InstanceNorm2d: expected an input [N, 2, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "InstanceNorm2d features",
        || unit(InstanceNorm2d::new(3, true)?.forward(&v(&[1, 2, 5, 5]))),
        "InstanceNorm2d: expected an input [N, 3, H, W] or without N, got shape [1, 2, 5, 5]",
    ),
    (
        "InstanceNorm2d one value",
        || unit(InstanceNorm2d::new(2, false)?.forward(&v(&[1, 2, 1, 1]))),
        "instance_norm: expected [N, C, ...] with more than one value per channel, got shape [1, 2, 1, 1]",
    ),
    (
        "InstanceNorm2d dtype",
        || unit(InstanceNorm2d::new(2, true)?.forward(&w(&[1, 2, 5, 5]))),
        "group_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "InstanceNorm2d integers",
        || unit(InstanceNorm2d::new(2, true)?.forward(&n(&[1, 2, 5, 5]))),
        "group_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "InstanceNorm2d untrained",
        || {
            let norm = InstanceNorm2d::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5, 5])))
        },
        "InstanceNorm2d: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "InstanceNorm3d features 0",
        || unit(InstanceNorm3d::new(0, true)),
        "InstanceNorm3d: number of features 0 must be positive",
    ),
    (
        "InstanceNorm3d rank",
        || unit(InstanceNorm3d::new(2, true)?.forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "InstanceNorm3d: expected an input [N, 2, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "InstanceNorm3d features",
        || unit(InstanceNorm3d::new(3, true)?.forward(&v(&[1, 2, 5, 5, 5]))),
        "InstanceNorm3d: expected an input [N, 3, D, H, W] or without N, got shape [1, 2, 5, 5, 5]",
    ),
    (
        "InstanceNorm3d one value",
        || unit(InstanceNorm3d::new(2, false)?.forward(&v(&[1, 2, 1, 1, 1]))),
        "instance_norm: expected [N, C, ...] with more than one value per channel, got shape [1, 2, 1, 1, 1]",
    ),
    (
        "InstanceNorm3d dtype",
        || unit(InstanceNorm3d::new(2, true)?.forward(&w(&[1, 2, 5, 5, 5]))),
        "group_norm: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "InstanceNorm3d integers",
        || unit(InstanceNorm3d::new(2, true)?.forward(&n(&[1, 2, 5, 5, 5]))),
        "group_norm: expected a floating-point tensor, got dtype int64",
    ),
    (
        "InstanceNorm3d untrained",
        || {
            let norm = InstanceNorm3d::new(2, true)?.track_running_stats(true)?;
            norm.eval();
            unit(norm.forward(&v(&[1, 2, 5, 5, 5])))
        },
        "InstanceNorm3d: in eval mode but has no running statistics: no batch was seen in training (num_batches_tracked is 0) and none were loaded; train it first or load a checkpoint",
    ),
    (
        "LocalResponseNorm size 0",
        || unit(LocalResponseNorm::new(0).forward(&v(&[1, 2, 3]))),
        "LocalResponseNorm: size 0 must be positive",
    ),
    (
        "LocalResponseNorm rank",
        || unit(LocalResponseNorm::new(2).forward(&v(&[2, 3]))),
        "LocalResponseNorm: expected an input [N, C, spatial...], got shape [2, 3]",
    ),
    (
        "LocalResponseNorm integers",
        || unit(LocalResponseNorm::new(2).forward(&n(&[1, 2, 3]))),
        "avg_pool2d: expected a floating-point tensor, got dtype int64",
    ),
];
