use super::*;

pub use flodl::{
    Adagrad, AdagradBuilder, Adam, AdamBuilder, AdamW, AdamWBuilder, AutocastGuard,
    CosineScheduler, CyclicLR, ExponentialLR, GradScaler, MultiStepLR, NAdam, OneCycleLR,
    Optimizer, PlateauScheduler, RAdam, RMSprop, RMSpropBuilder, SGD, SGDBuilder, Scheduler,
    StateKind, Stateful, StepDecay, WarmupScheduler,
};

free! {
    fn mse_loss(pred: &Variable, target: &Variable) -> Result<Variable>;
    fn cross_entropy_loss(pred: &Variable, target: &Variable) -> Result<Variable>;
    fn bce_loss(pred: &Variable, target: &Variable) -> Result<Variable>;
    fn bce_with_logits_loss(pred: &Variable, target: &Variable) -> Result<Variable>;
    fn l1_loss(pred: &Variable, target: &Variable) -> Result<Variable>;
    fn smooth_l1_loss(pred: &Variable, target: &Variable, beta: f64) -> Result<Variable>;
    fn kl_div_loss(input: &Variable, target: &Variable) -> Result<Variable>;
    fn nll_loss(input: &Variable, target: &Variable) -> Result<Variable>;
    fn ctc_loss(log_probs: &Variable, targets: &Variable, input_lengths: &Variable, target_lengths: &Variable, blank: i64) -> Result<Variable>;
    fn focal_loss(pred: &Variable, target: &Variable, alpha: f64, gamma: f64) -> Result<Variable>;
    fn triplet_margin_loss(anchor: &Variable, positive: &Variable, negative: &Variable, margin: f64) -> Result<Variable>;
    fn cosine_embedding_loss(x1: &Variable, x2: &Variable, label: &Variable, margin: f64) -> Result<Variable>;
    fn hinge_embedding_loss(input: &Variable, label: &Variable, margin: f64) -> Result<Variable>;
    fn margin_ranking_loss(x1: &Variable, x2: &Variable, label: &Variable, margin: f64) -> Result<Variable>;
    fn poisson_nll_loss(input: &Variable, target: &Variable, log_input: bool) -> Result<Variable>;
    fn kaiming_uniform(shape: &[i64], fan_in: i64, a: f64, device: Device) -> Result<Tensor>;
    fn kaiming_normal(shape: &[i64], fan_in: i64, a: f64, device: Device) -> Result<Tensor>;
    fn xavier_uniform(shape: &[i64], fan_in: i64, fan_out: i64, device: Device) -> Result<Tensor>;
    fn xavier_normal(shape: &[i64], fan_in: i64, fan_out: i64, device: Device) -> Result<Tensor>;
    fn uniform_bias(fan_in: i64, shape: &[i64], device: Device) -> Result<Tensor>;
    fn uniform(shape: &[i64], low: f64, high: f64, device: Device) -> Result<Tensor>;
    fn normal(shape: &[i64], mean: f64, std: f64, device: Device) -> Result<Tensor>;
    fn orthogonal(shape: &[i64], gain: f64, device: Device) -> Result<Tensor>;
    fn trunc_normal(shape: &[i64], mean: f64, std: f64, a: f64, b: f64, device: Device) -> Result<Tensor>;
    fn migrate_optim_state_file(src: &str, dst: &str, kind: StateKind) -> Result<()>;
    fn clip_grad_norm(params: &[Parameter], max_norm: f64) -> Result<f64>;
    fn clip_grad_value(params: &[Parameter], max_val: f64) -> Result<f64>;
    fn is_autocast_enabled() -> bool;
    fn is_autocast_enabled_for(device_type: i32) -> bool;
    fn cast_parameters(params: &[Parameter], dtype: DType) -> Result<()>;
}

methods! { adagrad_builder_: AdagradBuilder;
    fn eps(self, eps: f64) -> AdagradBuilder;
    fn weight_decay(self, wd: f64) -> AdagradBuilder;
    fn lr_decay(self, lr_decay: f64) -> AdagradBuilder;
    fn build(self) -> Adagrad;
}

methods! { adagrad_: Adagrad;
    fn new(params: &[Parameter], lr: f64) -> Adagrad;
    fn builder(params: &[Parameter], lr: f64) -> AdagradBuilder;
    fn lr(&self) -> f64;
}

methods! { adam_: Adam;
    fn new(params: &[Parameter], lr: f64) -> Adam;
    fn with_groups() -> AdamBuilder;
    fn lr(&self) -> f64;
}

methods! { adam_builder_: AdamBuilder;
    fn betas(self, beta1: f64, beta2: f64) -> AdamBuilder;
    fn eps(self, eps: f64) -> AdamBuilder;
    fn group(self, params: &[Parameter], lr: f64) -> AdamBuilder;
    fn build(self) -> Adam;
}

methods! { adam_w_: AdamW;
    fn new(params: &[Parameter], lr: f64, weight_decay: f64) -> AdamW;
    fn with_groups(weight_decay: f64) -> AdamWBuilder;
    fn lr(&self) -> f64;
}

methods! { adam_wbuilder_: AdamWBuilder;
    fn betas(self, beta1: f64, beta2: f64) -> AdamWBuilder;
    fn eps(self, eps: f64) -> AdamWBuilder;
    fn group(self, params: &[Parameter], lr: f64) -> AdamWBuilder;
    fn build(self) -> AdamW;
}

methods! { nadam_: NAdam;
    fn new(params: &[Parameter], lr: f64) -> NAdam;
    fn lr(&self) -> f64;
}

methods! { radam_: RAdam;
    fn new(params: &[Parameter], lr: f64) -> RAdam;
    fn lr(&self) -> f64;
}

methods! { rmsprop_: RMSprop;
    fn new(params: &[Parameter], lr: f64) -> RMSprop;
    fn builder(params: &[Parameter], lr: f64) -> RMSpropBuilder;
    fn lr(&self) -> f64;
}

methods! { rmsprop_builder_: RMSpropBuilder;
    fn alpha(self, alpha: f64) -> RMSpropBuilder;
    fn eps(self, eps: f64) -> RMSpropBuilder;
    fn weight_decay(self, wd: f64) -> RMSpropBuilder;
    fn momentum(self, momentum: f64) -> RMSpropBuilder;
    fn build(self) -> RMSprop;
}

methods! { sgd_: SGD;
    fn new(params: &[Parameter], lr: f64, momentum: f64) -> SGD;
    fn weight_decay(self, wd: f64) -> SGD;
    fn with_groups(momentum: f64) -> SGDBuilder;
    fn lr(&self) -> f64;
}

methods! { sgdbuilder_: SGDBuilder;
    fn group(self, params: &[Parameter], lr: f64) -> SGDBuilder;
    fn weight_decay(self, wd: f64) -> SGDBuilder;
    fn build(self) -> SGD;
}

methods! { autocast_guard_: AutocastGuard;
    fn new(dtype: DType) -> AutocastGuard;
    fn for_device(device_type: i32, dtype: DType) -> AutocastGuard;
}

methods! { grad_scaler_: GradScaler;
    fn new() -> GradScaler;
    fn scale(&self, loss: &Variable) -> Result<Variable>;
    fn scale_factor(&self) -> f64;
    fn step(&mut self, params: &[Parameter], step_fn: &mut dyn FnMut() -> Result<()>) -> Result<bool>;
    fn update(&mut self);
}

methods! { step_decay_: StepDecay;
    fn new(base_lr: f64, step_size: usize, gamma: f64) -> StepDecay;
    fn lr(&self, step: usize) -> f64;
}

methods! { cosine_scheduler_: CosineScheduler;
    fn new(base_lr: f64, min_lr: f64, total_steps: usize) -> CosineScheduler;
    fn lr(&self, step: usize) -> f64;
}

methods! { plateau_scheduler_: PlateauScheduler;
    fn new(base_lr: f64, patience: usize, factor: f64, min_lr: f64) -> PlateauScheduler;
    fn observe(&mut self, metric: f64) -> f64;
    fn lr(&self) -> f64;
}

methods! { exponential_lr_: ExponentialLR;
    fn new(base_lr: f64, gamma: f64) -> ExponentialLR;
    fn lr(&self, step: usize) -> f64;
}

methods! { multi_step_lr_: MultiStepLR;
    fn new(base_lr: f64, milestones: &[usize], gamma: f64) -> MultiStepLR;
    fn lr(&self, step: usize) -> f64;
}

methods! { one_cycle_lr_: OneCycleLR;
    fn new(max_lr: f64, total_steps: usize) -> OneCycleLR;
    fn with_warmup_frac(max_lr: f64, total_steps: usize, warmup_frac: f64) -> OneCycleLR;
    fn lr(&self, step: usize) -> f64;
}

methods! { cyclic_lr_: CyclicLR;
    fn new(base_lr: f64, max_lr: f64, step_size: usize) -> CyclicLR;
    fn asymmetric(base_lr: f64, max_lr: f64, step_size_up: usize, step_size_down: usize) -> CyclicLR;
    fn lr(&self, step: usize) -> f64;
}

fn warmup_wraps_any_scheduler<S: Scheduler>(inner: S, wrapped: &WarmupScheduler<S>) {
    let _: WarmupScheduler<S> = WarmupScheduler::new(inner, 0.1, 10_usize);
    let _: f64 = wrapped.lr(1_usize);
}

fn autocast_gives_what_its_closure_gives<F: FnOnce() -> R, R>(f: F) {
    let _: R = autocast(DType::BFloat16, f);
}
