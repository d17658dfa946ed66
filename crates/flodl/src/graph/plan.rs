//! The compiled form of a graph: numbered slots, and steps that read and write them.

/// Number of a slot that holds a value during a forward.
pub(super) type Slot = usize;

/// One step of a plan. `last_use` marks whether a step is the last to read a slot, so that the
/// value is dropped (and its memory free) as early as possible.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// `output = modules[module](input)`.
    Call { module: usize, input: Slot, output: Slot },
    /// `output = a + b`.
    Add { a: Slot, b: Slot, output: Slot },
}

/// Steps in order; slot 0 is the input.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub slots: usize,
    pub output: Slot,
    /// For each step, the slots that nobody reads after it.
    pub free: Vec<Vec<Slot>>,
}

impl Plan {
    pub fn new(steps: Vec<Step>, slots: usize, output: Slot) -> Self {
        let reads = |step: &Step| match *step {
            Step::Call { input, .. } => vec![input],
            Step::Add { a, b, .. } => vec![a, b],
        };
        let mut free = vec![Vec::new(); steps.len()];
        for slot in (0..slots).filter(|&s| s != output) {
            if let Some(last) = steps.iter().rposition(|step| reads(step).contains(&slot)) {
                free[last].push(slot);
            }
        }
        Plan { steps, slots, output, free }
    }
}
