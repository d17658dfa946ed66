//! Recurrent networks: checks, cells and sequences.

use super::Tensor;
use crate::backend::{
    self, CellGeom, CellGrads, CellSaved, PackedCell, RnnGeom, RnnMode, RnnWeights, SequenceGrads,
};
use crate::{DType, Error, Result};

/// What a sequence op is, besides its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SequenceSpec {
    pub op: &'static str,
    pub mode: RnnMode,
    pub layers: usize,
    pub directions: usize,
}

/// Results of a sequence: output `[S, B, D·H]`, last h and c `[L·D, B, H]`, and what its backward
/// reads besides.
pub(crate) struct Sequence {
    pub out: Tensor,
    pub h: Tensor,
    pub c: Option<Tensor>,
    pub reserve: Tensor,
}

/// Contiguous handles on tensors.
fn contiguous(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    tensors.iter().map(|t| t.contiguous()).collect()
}

fn weights<'a>(params: &'a [Tensor]) -> RnnWeights<'a> {
    RnnWeights {
        w_ih: params[0].operand(),
        w_hh: params[1].operand(),
        biases: params.get(3).map(|b| [params[2].operand(), b.operand()]),
    }
}

/// Checks the weights of one direction of one layer: `[G·H, I]`, `[G·H, H]` and biases `[G·H]`.
fn check_params(
    op: &'static str,
    mode: RnnMode,
    x: &Tensor,
    input: usize,
    hidden: usize,
    params: &[&Tensor],
) -> Result<()> {
    let rows = mode.gates() * hidden;
    let shapes: [(&str, &[usize]); 4] = [
        ("weight_ih", &[rows, input]),
        ("weight_hh", &[rows, hidden]),
        ("bias_ih", &[rows]),
        ("bias_hh", &[rows]),
    ];
    for ((name, shape), p) in shapes.iter().zip(params) {
        x.check_same(op, p)?;
        if p.dims() != *shape {
            return Err(Error::Shape {
                op,
                expected: format!(
                    "{name} of {shape:?} ({} times hidden size {hidden} rows)",
                    mode.gates()
                ),
                got: p.shape(),
            });
        }
    }
    Ok(())
}

fn check_input(op: &'static str, x: &Tensor, ndim: usize, dims: &str) -> Result<()> {
    if x.ndim() != ndim {
        return Err(Error::Shape { op, expected: format!("an input of {dims}"), got: x.shape() });
    }
    if !matches!(x.dtype(), DType::Float32 | DType::Float64) {
        return Err(Error::DType { op, expected: "a floating-point input".into(), got: x.dtype() });
    }
    Ok(())
}

impl SequenceSpec {
    /// Tensors of one direction of one layer.
    pub fn per_run(&self, params: usize) -> Result<usize> {
        let runs = self.layers * self.directions;
        if runs > 0 && (params == 2 * runs || params == 4 * runs) {
            return Ok(params / runs);
        }
        Err(Error::invalid(
            self.op,
            format!(
                "{params} weights; {} layers of {} directions have {} without and {} with biases",
                self.layers,
                self.directions,
                2 * runs,
                4 * runs
            ),
        ))
    }

    /// Checks all tensors against each other. The input is time-major.
    pub fn geom(
        &self,
        x: &Tensor,
        states: [Option<&Tensor>; 2],
        params: &[&Tensor],
    ) -> Result<RnnGeom> {
        let op = self.op;
        let per_run = self.per_run(params.len())?;
        check_input(op, x, 3, "3 dims, sequence, batch and features")?;
        let hidden = params[1].dims().get(1).copied().unwrap_or(0);
        let (steps, batch, input) = (x.dims()[0], x.dims()[1], x.dims()[2]);
        let geom = RnnGeom {
            mode: self.mode,
            steps,
            batch,
            input,
            hidden,
            layers: self.layers,
            directions: self.directions,
            dropout: None,
        };
        if let Some(&features) = params[0].dims().get(1)
            && features != input
        {
            return Err(Error::Shape {
                op,
                expected: format!("an input with {features} features in its last dim"),
                got: x.shape(),
            });
        }
        if steps == 0 || hidden == 0 {
            let what = if steps == 0 { "a sequence of at least one step" } else { "hidden units" };
            return Err(Error::Shape { op, expected: what.into(), got: x.shape() });
        }
        for (run, p) in params.chunks_exact(per_run).enumerate() {
            let input = geom.layer_input(run / self.directions);
            check_params(op, self.mode, x, input, hidden, p)?;
        }
        let want = [self.layers * self.directions, batch, hidden];
        for (name, state) in ["h_0", "c_0"].into_iter().zip(states) {
            let Some(state) = state else { continue };
            x.check_same(op, state)?;
            if state.dims() != want {
                return Err(Error::Shape {
                    op,
                    expected: format!("{name} of {want:?}, layers times directions, batch, hidden"),
                    got: state.shape(),
                });
            }
        }
        Ok(geom)
    }

    /// Runs a sequence. All tensors are contiguous and fit `geom`; with `keep`, the reserve serves
    /// a backward.
    pub fn forward(
        &self,
        geom: &RnnGeom,
        x: &Tensor,
        [h0, c0]: [Option<&Tensor>; 2],
        params: &[Tensor],
        keep: bool,
    ) -> Result<Sequence> {
        let per_run = params.len() / (self.layers * self.directions);
        let (dtype, device) = (x.dtype(), x.device());
        let fresh = |dims: &[usize]| Tensor::fresh(dims, dtype, device);
        let state = [self.layers * self.directions, geom.batch, geom.hidden];
        let mut out = fresh(&[geom.steps, geom.batch, self.directions * geom.hidden])?;
        let mut h = fresh(&state)?;
        let mut c = geom.mode.has_cell().then(|| fresh(&state)).transpose()?;
        let backend = x.backend()?;
        let mut reserve = fresh(&[backend.rnn_reserve(geom, keep)])?;
        let all: Vec<RnnWeights<'_>> = params.chunks_exact(per_run).map(weights).collect();
        backend.rnn_forward(
            geom,
            x.operand(),
            [h0.map(Tensor::operand), c0.map(Tensor::operand)],
            &all,
            [out.fresh_storage(), h.fresh_storage(), reserve.fresh_storage()],
            c.as_mut().map(Tensor::fresh_storage),
            keep,
        )?;
        Ok(Sequence { out, h, c, reserve })
    }

    /// Gradients of x, h0, c0 and the weights, in this order, where `needs` says so.
    pub fn backward(
        &self,
        geom: &RnnGeom,
        x: &Tensor,
        [h0, c0]: [Option<&Tensor>; 2],
        params: &[Tensor],
        (out, reserve): (&Tensor, &Tensor),
        given: [Option<Tensor>; 3],
        needs: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<Tensor>>> {
        let per_run = params.len() / (self.layers * self.directions);
        let inputs = [Some(x), h0, c0].into_iter().chain(params.iter().map(Some));
        let mut grads = inputs
            .enumerate()
            .map(|(i, t)| {
                t.filter(|_| needs(i))
                    .map(|t| Tensor::fresh(t.dims(), t.dtype(), t.device()))
                    .transpose()
            })
            .collect::<Result<Vec<Option<Tensor>>>>()?;
        let all: Vec<RnnWeights<'_>> = params.chunks_exact(per_run).map(weights).collect();
        let mut slots = grads.iter_mut().map(|g| g.as_mut().map(Tensor::fresh_storage));
        let mut next = || slots.next().flatten();
        let (dx, dh, dc) = (next(), next(), next());
        let dw = (0..all.len())
            .map(|_| {
                let (w_ih, w_hh) = (next(), next());
                let (b_ih, b_hh) = if per_run == 4 { (next(), next()) } else { (None, None) };
                [w_ih, w_hh, b_ih, b_hh]
            })
            .collect();
        x.backend()?.rnn_backward(
            geom,
            x.operand(),
            [h0.map(Tensor::operand), c0.map(Tensor::operand)],
            &all,
            out.operand(),
            reserve.operand(),
            given.each_ref().map(|g| g.as_ref().map(Tensor::operand)),
            SequenceGrads { x: dx, states: [dh, dc], weights: dw },
        )?;
        Ok(grads)
    }
}

/// A cell's weights in the engine's own form, for the steps that share them.
pub(crate) struct PackedWeights {
    /// The weights packed. That these handles live keeps the values from changing under the form.
    of: [Tensor; 2],
    packed: PackedCell,
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PackedWeights")
    }
}

impl PackedWeights {
    pub fn new(w_ih: &Tensor, w_hh: &Tensor) -> Result<Self> {
        let packed = backend::engine(w_ih.device())?.rnn_pack(w_ih.dtype())?;
        Ok(PackedWeights { of: [w_ih.clone(), w_hh.clone()], packed })
    }

    /// Whether this is the form of these very weights.
    pub fn is_of(&self, w_ih: &Tensor, w_hh: &Tensor) -> bool {
        self.of[0].is_same_view(w_ih) && self.of[1].is_same_view(w_hh)
    }
}

/// What a cell op is, besides its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellSpec {
    pub op: &'static str,
    pub mode: RnnMode,
}

/// A state as kernels read it: rows of adjacent elements.
pub(crate) fn state_rows(t: &Tensor) -> Result<Tensor> {
    let rows = t.ndim() == 2 && (t.layout().strides[1] == 1 || t.dims()[1] == 1);
    if rows { Ok(t.clone()) } else { t.contiguous() }
}

impl CellSpec {
    /// Checks all tensors against each other.
    pub fn geom(
        &self,
        x: &Tensor,
        states: [Option<&Tensor>; 2],
        params: &[&Tensor],
    ) -> Result<CellGeom> {
        let op = self.op;
        check_input(op, x, 2, "2 dims, batch and features")?;
        let (batch, input) = (x.dims()[0], x.dims()[1]);
        let hidden = params[1].dims().get(1).copied().unwrap_or(0);
        if let Some(&features) = params[0].dims().get(1)
            && features != input
        {
            return Err(Error::Shape {
                op,
                expected: format!("an input with {features} features in its last dim"),
                got: x.shape(),
            });
        }
        if hidden == 0 {
            let expected = "weights of at least one hidden unit".into();
            return Err(Error::Shape { op, expected, got: params[1].shape() });
        }
        check_params(op, self.mode, x, input, hidden, params)?;
        for (name, state) in ["h", "c"].into_iter().zip(states) {
            let Some(state) = state else { continue };
            x.check_same(op, state)?;
            if state.dims() != [batch, hidden] {
                return Err(Error::Shape {
                    op,
                    expected: format!("a state {name} of [{batch}, {hidden}], batch and hidden"),
                    got: state.shape(),
                });
            }
        }
        Ok(CellGeom { mode: self.mode, batch, input, hidden })
    }

    /// One step: gates and new state. The tensors fit `geom`, x and params are contiguous.
    pub fn forward(
        &self,
        geom: &CellGeom,
        x: &Tensor,
        states: [Option<&Tensor>; 2],
        params: &[Tensor],
        packed: Option<&PackedWeights>,
    ) -> Result<[Tensor; 2]> {
        let fresh = |dims: &[usize]| Tensor::fresh(dims, x.dtype(), x.device());
        let mut gates = fresh(&[geom.gates_len()])?;
        let mut out = fresh(&[geom.batch, geom.state()])?;
        x.backend()?.rnn_cell(
            geom,
            x.operand(),
            states.map(|s| s.map(Tensor::operand)),
            weights(params),
            packed.map(|p| &p.packed),
            [gates.fresh_storage(), out.fresh_storage()],
        )?;
        Ok([gates, out])
    }

    /// Gradients of x, of the state before in the form of the new one, and of the weights. Those
    /// of the weights are added to what `grads` holds.
    pub fn backward(
        &self,
        geom: &CellGeom,
        x: &Tensor,
        states: [Option<&Tensor>; 2],
        params: &[Tensor],
        packed: Option<&PackedWeights>,
        [gates, out]: [&Tensor; 2],
        given: [Option<&Tensor>; 2],
        wants: [bool; 2],
        grads: &mut [Option<Tensor>],
        accumulate: [bool; 4],
        sums: Option<(&mut Tensor, usize)>,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let fresh = |dims: &[usize]| Tensor::fresh(dims, x.dtype(), x.device());
        let [wants_x, wants_h] = wants;
        let mut dx = wants_x.then(|| fresh(x.dims())).transpose()?;
        let mut state = fresh(out.dims())?;
        let mut slots = grads.iter_mut().map(|g| g.as_mut().map(Tensor::fresh_storage));
        let mut next = || slots.next().flatten();
        x.backend()?.rnn_cell_backward(
            geom,
            x.operand(),
            states.map(|s| s.map(Tensor::operand)),
            weights(params),
            packed.map(|p| &p.packed),
            CellSaved { gates: gates.operand(), out: out.operand() },
            given.map(|s| s.map(Tensor::operand)),
            CellGrads {
                x: dx.as_mut().map(Tensor::fresh_storage),
                state: state.fresh_storage(),
                wants_h,
                weights: [next(), next(), next(), next()],
                accumulate,
                sums: sums.map(|(t, row)| (t.fresh_storage(), row)),
            },
        )?;
        Ok((dx, state))
    }

    /// Adds gradients of the weights over many steps to `grads`, or writes them.
    pub fn weight_grads(
        &self,
        geom: &CellGeom,
        [sums, x, h]: [&Tensor; 3],
        params: &[Tensor],
        grads: &mut [Option<Tensor>],
        accumulate: [bool; 4],
    ) -> Result<()> {
        let mut slots = grads.iter_mut().map(|g| g.as_mut().map(Tensor::fresh_storage));
        let mut next = || slots.next().flatten();
        let grads = [next(), next(), next(), next()];
        let rows = [sums.operand(), x.operand(), h.operand()];
        x.backend()?.rnn_cell_weights(geom, rows, weights(params), grads, accumulate)
    }

    /// The step on tensors, without a tape: the new state, h and c side by side.
    fn step(&self, x: &Tensor, states: [Option<&Tensor>; 2], params: &[&Tensor]) -> Result<Tensor> {
        if x.dtype().is_half() {
            let wide = |t: &Tensor| t.to_dtype(DType::Float32);
            let same = states.into_iter().flatten().chain(params.iter().copied());
            for t in same {
                x.check_same(self.op, t)?;
            }
            let [h, c] = states.map(|s| s.map(wide).transpose());
            let (h, c) = (h?, c?);
            let params = params.iter().map(|p| wide(p)).collect::<Result<Vec<Tensor>>>()?;
            let params: Vec<&Tensor> = params.iter().collect();
            let out = self.step(&wide(x)?, [h.as_ref(), c.as_ref()], &params)?;
            return out.to_dtype(x.dtype());
        }
        let geom = self.geom(x, states, params)?;
        let [h, c] = states.map(|s| s.map(state_rows).transpose());
        let (h, c) = (h?, c?);
        let params = contiguous(params)?;
        let states = [h.as_ref(), c.as_ref()];
        let [_, out] = self.forward(&geom, &x.contiguous()?, states, &params, None)?;
        Ok(out)
    }
}

/// The weights of a recurrent network with what is to be done with them, checked once.
///
/// `params` stand direction by direction, layer by layer: `weight_ih` `[G·H, input]`, `weight_hh`
/// `[G·H, H]` and, or not at all, `bias_ih` and `bias_hh` `[G·H]`. The mode counts as cuDNN's:
/// 0 ReLU, 1 tanh, 2 LSTM, 3 GRU.
///
/// ```
/// use flodl::*;
/// let lstm = LSTM::new(3, 5, 2)?;
/// let params: Vec<Tensor> = lstm.parameters().iter().map(|p| p.variable.data()).collect();
/// let params = RnnParams::new(&params, 2, 2, true, true)?;
/// let x = Tensor::randn(&[4, 7, 3], TensorOptions::default())?;
/// let (output, h_n, c_n) = params.forward(&x, None, None)?;
/// assert_eq!((output.shape(), h_n.shape()), (vec![4, 7, 5], vec![2, 4, 5]));
/// assert_eq!(c_n.unwrap().shape(), [2, 4, 5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct RnnParams {
    params: Vec<Tensor>,
    spec: SequenceSpec,
    batch_first: bool,
}

impl RnnParams {
    /// With one direction; `flatten` asks for one block of memory where the engine likes that,
    /// which changes no result.
    ///
    /// # Errors
    /// When the mode is unknown, or the number of tensors is not 2 or 4 for each layer.
    pub fn new(
        params: &[Tensor],
        mode: i64,
        num_layers: i64,
        batch_first: bool,
        flatten: bool,
    ) -> Result<Self> {
        let _ = flatten;
        let mode = match mode {
            0 => RnnMode::Relu,
            1 => RnnMode::Tanh,
            2 => RnnMode::Lstm,
            3 => RnnMode::Gru,
            other => {
                return Err(Error::invalid(
                    "RnnParams",
                    format!("mode {other}; there are 0 ReLU, 1 tanh, 2 LSTM and 3 GRU"),
                ));
            }
        };
        let layers = layer_count("RnnParams", num_layers)?;
        let spec = SequenceSpec { op: "RnnParams", mode, layers, directions: 1 };
        spec.per_run(params.len())?;
        Ok(RnnParams { params: params.to_vec(), spec, batch_first })
    }

    /// Runs a sequence: output, last h, and of an LSTM last c. States that are `None` are zeros.
    ///
    /// # Errors
    /// When the input `[S, B, I]` (or batch first) or a state `[layers, B, H]` does not fit.
    pub fn forward(
        &self,
        input: &Tensor,
        h_0: Option<&Tensor>,
        c_0: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let params: Vec<&Tensor> = self.params.iter().collect();
        sequence(&self.spec, input, [h_0, c_0], &params, self.batch_first)
    }

    /// The weights.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// The kind of cell.
    pub fn mode(&self) -> RnnMode {
        self.spec.mode
    }
}

fn layer_count(op: &'static str, layers: i64) -> Result<usize> {
    usize::try_from(layers)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| Error::invalid(op, format!("number of layers {layers} must be positive")))
}

/// A sequence on tensors, without a tape.
fn sequence(
    spec: &SequenceSpec,
    x: &Tensor,
    states: [Option<&Tensor>; 2],
    params: &[&Tensor],
    batch_first: bool,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    if x.dtype().is_half() {
        let wide = |t: &Tensor| t.to_dtype(DType::Float32);
        let [h, c] = states.map(|s| s.map(wide).transpose());
        let (h, c) = (h?, c?);
        let wider = params.iter().map(|p| wide(p)).collect::<Result<Vec<Tensor>>>()?;
        let wider: Vec<&Tensor> = wider.iter().collect();
        let states = [h.as_ref(), c.as_ref()];
        let (out, h, c) = sequence(spec, &wide(x)?, states, &wider, batch_first)?;
        let narrow = |t: Tensor| t.to_dtype(x.dtype());
        return Ok((narrow(out)?, narrow(h)?, c.map(narrow).transpose()?));
    }
    let x = if batch_first && x.ndim() == 3 { x.transpose(0, 1)? } else { x.clone() };
    let geom = spec.geom(&x, states, params)?;
    let [h, c] = states.map(|s| s.map(Tensor::contiguous).transpose());
    let (h, c) = (h?, c?);
    let states = [h.as_ref(), c.as_ref()];
    let s = spec.forward(&geom, &x.contiguous()?, states, &contiguous(params)?, false)?;
    let out = if batch_first { s.out.transpose(0, 1)? } else { s.out };
    Ok((out, s.h, s.c))
}

/// A sequence whose directions are told by its first state.
fn directed(op: &'static str, mode: RnnMode, h_0: &Tensor, layers: i64) -> Result<SequenceSpec> {
    let layers = layer_count(op, layers)?;
    let states = h_0.dims().first().copied().unwrap_or(0);
    let directions = states / layers;
    if h_0.ndim() != 3 || states % layers != 0 || !(1..=2).contains(&directions) {
        return Err(Error::Shape {
            op,
            expected: format!("h_0 of [{layers} layers times 1 or 2 directions, batch, hidden]"),
            got: h_0.shape(),
        });
    }
    Ok(SequenceSpec { op, mode, layers, directions })
}

impl Tensor {
    /// One step of a GRU: input `[B, I]`, state `[B, H]`, weights `[3H, I]` and `[3H, H]`, biases
    /// `[3H]`; the new state `[B, H]`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn gru_cell(
        &self,
        hx: &Tensor,
        w_ih: &Tensor,
        w_hh: &Tensor,
        b_ih: &Tensor,
        b_hh: &Tensor,
    ) -> Result<Tensor> {
        let spec = CellSpec { op: "gru_cell", mode: RnnMode::Gru };
        spec.step(self, [Some(hx), None], &[w_ih, w_hh, b_ih, b_hh])
    }

    /// One step of an LSTM: input `[B, I]`, states `[B, H]`, weights `[4H, I]` and `[4H, H]`,
    /// biases `[4H]`; the new h and c.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn lstm_cell(
        &self,
        hx: &Tensor,
        cx: &Tensor,
        w_ih: &Tensor,
        w_hh: &Tensor,
        b_ih: &Tensor,
        b_hh: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let spec = CellSpec { op: "lstm_cell", mode: RnnMode::Lstm };
        let out = spec.step(self, [Some(hx), Some(cx)], &[w_ih, w_hh, b_ih, b_hh])?;
        let hidden = out.dims()[1] as i64 / 2;
        Ok((out.narrow(1, 0, hidden)?, out.narrow(1, hidden, hidden)?))
    }

    /// A sequence through an LSTM of several layers: output, last h and last c. `params` as for
    /// [`RnnParams`]; it is bidirectional if `h_0` has twice as many states as there are layers.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn lstm_seq(
        &self,
        h_0: &Tensor,
        c_0: &Tensor,
        params: &[Tensor],
        num_layers: i64,
        batch_first: bool,
        flatten: bool,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let _ = flatten;
        let spec = directed("lstm_seq", RnnMode::Lstm, h_0, num_layers)?;
        let params: Vec<&Tensor> = params.iter().collect();
        let (out, h, c) = sequence(&spec, self, [Some(h_0), Some(c_0)], &params, batch_first)?;
        Ok((out, h, c.expect("an LSTM has a cell state")))
    }

    /// A sequence through a GRU of several layers: output and last h; see [`Tensor::lstm_seq`].
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn gru_seq(
        &self,
        h_0: &Tensor,
        params: &[Tensor],
        num_layers: i64,
        batch_first: bool,
        flatten: bool,
    ) -> Result<(Tensor, Tensor)> {
        let _ = flatten;
        let spec = directed("gru_seq", RnnMode::Gru, h_0, num_layers)?;
        let params: Vec<&Tensor> = params.iter().collect();
        let (out, h, _) = sequence(&spec, self, [Some(h_0), None], &params, batch_first)?;
        Ok((out, h))
    }
}
