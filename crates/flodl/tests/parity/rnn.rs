//! Recurrent layers.

use flodl::*;

use super::case::{Case, Entry, Out, Run, Try};

/// The settings that all sequences share.
fn settings<L>(c: &Case, builder: RnnBuilder<L>) -> Try<L> {
    let mut builder = builder
        .with_layers(c.ctor("num_layers").i64()? as usize)
        .with_batch_first(c.ctor("batch_first").bool_or(false)?)
        .with_bidirectional(c.ctor("bidirectional").bool_or(false)?)
        .with_dropout(c.ctor("dropout").f64()?);
    if !c.ctor("bias").bool_or(true)? {
        builder = builder.without_bias();
    }
    Ok(builder.done()?)
}

fn sizes(c: &Case) -> Try<(i64, i64)> {
    Ok((c.ctor("input_size").i64()?, c.ctor("hidden_size").i64()?))
}

fn pair(output: (Variable, Variable)) -> Run {
    Ok(vec![Out::Var(output.0), Out::Var(output.1)])
}

/// h and c of a case, if it has them.
fn states(c: &Case) -> Try<Option<[Variable; 2]>> {
    let arg = c.arg(1, "hx");
    if arg.is_none() {
        return Ok(None);
    }
    let both = arg.vars()?;
    let [h, c] = <[Variable; 2]>::try_from(both).expect("a state is a pair");
    Ok(Some([h, c]))
}

pub const LAYERS: &[Entry] = &[
    ("RNN", |c| {
        let (i, h) = sizes(c)?;
        let mut layer = settings(c, RNN::configure(i, h))?;
        if !c.ctor("nonlinearity").is_none() {
            layer = layer.nonlinearity(c.ctor("nonlinearity").str_or("tanh")?)?;
        }
        c.load(&layer)?;
        pair(layer.forward_seq(&c.arg(0, "input").var()?, c.arg(1, "hx").opt_var()?.as_ref())?)
    }),
    ("GRU", |c| {
        let (i, h) = sizes(c)?;
        let layer = settings(c, GRU::configure(i, h))?;
        c.load(&layer)?;
        pair(layer.forward_seq(&c.arg(0, "input").var()?, c.arg(1, "hx").opt_var()?.as_ref())?)
    }),
    ("LSTM", |c| {
        let (i, h) = sizes(c)?;
        c.ctor("proj_size").only(0)?;
        let layer = settings(c, LSTM::configure(i, h))?;
        c.load(&layer)?;
        let first = states(c)?;
        let first = first.as_ref().map(|[h, c]| (h, c));
        let (output, (h, c)) = layer.forward_seq(&c.arg(0, "input").var()?, first)?;
        Ok(vec![Out::Var(output), Out::Var(h), Out::Var(c)])
    }),
    ("RNNCell", |c| {
        let (i, h) = sizes(c)?;
        let layer =
            if c.ctor("bias").bool_or(true)? { RNNCell::new(i, h) } else { RNNCell::no_bias(i, h) };
        let layer = layer?.nonlinearity(c.ctor("nonlinearity").str_or("tanh")?)?;
        c.load(&layer)?;
        let h = c.arg(1, "hx").opt_var()?;
        Ok(vec![Out::Var(layer.forward_step(&c.arg(0, "input").var()?, h.as_ref())?)])
    }),
    ("GRUCell", |c| {
        let (i, h) = sizes(c)?;
        let layer =
            if c.ctor("bias").bool_or(true)? { GRUCell::new(i, h) } else { GRUCell::no_bias(i, h) };
        let layer = layer?;
        c.load(&layer)?;
        let h = c.arg(1, "hx").opt_var()?;
        Ok(vec![Out::Var(layer.forward_step(&c.arg(0, "input").var()?, h.as_ref())?)])
    }),
    ("LSTMCell", |c| {
        let (i, h) = sizes(c)?;
        let layer = if c.ctor("bias").bool_or(true)? {
            LSTMCell::new(i, h)
        } else {
            LSTMCell::no_bias(i, h)
        };
        let layer = layer?;
        c.load(&layer)?;
        let before = match states(c)? {
            // Unbatched states too: side by side in the last dim.
            Some([h, c]) => Some(layer.join_state(&h, &c)?),
            None => None,
        };
        let new = layer.forward_step(&c.arg(0, "input").var()?, before.as_ref())?;
        pair(layer.split_state(&new)?)
    }),
];
