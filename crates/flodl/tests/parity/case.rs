//! A file of reference cases, and one case's arguments by name.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use flodl::{Buffer, DType, Device, Module, Parameter, Tensor, Variable};
use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Why a case gave no result.
#[derive(Debug)]
pub enum Stop {
    /// The library has no such option, yet.
    Unsupported(String),
    /// The library answered with an error.
    Error(String),
}

impl From<flodl::Error> for Stop {
    fn from(e: flodl::Error) -> Self {
        Stop::Error(e.to_string())
    }
}

pub type Try<T> = Result<T, Stop>;

/// One output of a case.
pub enum Out {
    /// With a gradient, if its inputs have one.
    Var(Variable),
    /// From a method that has no gradient.
    Tensor(Tensor),
}

impl From<Variable> for Out {
    fn from(v: Variable) -> Self {
        Out::Var(v)
    }
}

impl From<Tensor> for Out {
    fn from(t: Tensor) -> Self {
        Out::Tensor(t)
    }
}

/// What an entry of a table returns: the outputs, flattened in PyTorch's order.
pub type Run = Try<Vec<Out>>;
pub type Entry = (&'static str, fn(&Case) -> Run);

pub fn unsupported<T>(reason: impl Into<String>) -> Try<T> {
    Err(Stop::Unsupported(reason.into()))
}

/// The only output of an operation.
pub fn one<T: Into<Out>>(result: flodl::Result<T>) -> Run {
    Ok(vec![result?.into()])
}

/// Several outputs of one kind.
pub fn many<T: Into<Out>>(result: flodl::Result<Vec<T>>) -> Run {
    Ok(result?.into_iter().map(Into::into).collect())
}

/// Tensors and cases of one file.
pub struct File {
    bytes: Vec<u8>,
    tensors: BTreeMap<String, TensorInfo>,
    data_start: usize,
    pub cases: Vec<Value>,
}

impl File {
    pub fn read(path: &Path) -> Result<File, String> {
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        let (size, header) = SafeTensors::read_metadata(&bytes).map_err(|e| e.to_string())?;
        let tensors = header.tensors().into_iter().map(|(n, t)| (n, t.clone())).collect();
        let metadata = header.metadata().clone().unwrap_or_default();
        let cases = match metadata.get("cases") {
            Some(text) => serde_json::from_str(text).map_err(|e| e.to_string())?,
            None => Vec::new(),
        };
        Ok(File { bytes, tensors, data_start: size + 8, cases })
    }

    pub fn tensor(&self, name: &str) -> Try<Tensor> {
        let Some(info) = self.tensors.get(name) else {
            return Err(Stop::Error(format!("the file has no tensor {name}")));
        };
        let dtype = match info.dtype {
            Dtype::F16 => DType::Float16,
            Dtype::BF16 => DType::BFloat16,
            Dtype::F32 => DType::Float32,
            Dtype::F64 => DType::Float64,
            Dtype::I32 => DType::Int32,
            Dtype::I64 => DType::Int64,
            Dtype::U8 => DType::UInt8,
            Dtype::BOOL => DType::Bool,
            other => return unsupported(format!("dtype {other:?}")),
        };
        let shape: Vec<i64> = info.shape.iter().map(|&n| n as i64).collect();
        let (start, end) = info.data_offsets;
        let Some(data) = self.bytes.get(self.data_start + start..self.data_start + end) else {
            return unsupported("a file that ends too early");
        };
        Ok(Tensor::from_blob(data, &shape, dtype, Device::CPU)?)
    }

    /// Names of the tensors that begin with a prefix, without it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors.keys().filter_map(|n| n.strip_prefix(prefix)).map(str::to_owned).collect()
    }
}

/// Arguments that change nothing here: in-place forms, deprecated spellings, where to compute.
const NEUTRAL: &[&str] =
    &["inplace", "size_average", "reduce", "sparse", "_weight", "_freeze", "kwargs"];

/// One case. It remembers which arguments were read: one that no one read was not honoured, so a
/// case never passes by ignoring an option.
pub struct Case<'a> {
    pub meta: &'a Value,
    pub file: &'a File,
    read: RefCell<BTreeSet<String>>,
    pub inputs: RefCell<HashMap<String, Variable>>,
    pub params: RefCell<Vec<(String, Parameter)>>,
    pub buffers: RefCell<Vec<(String, Buffer)>>,
}

/// One argument: absent, null or a value.
#[derive(Clone)]
pub struct Arg<'a> {
    case: &'a Case<'a>,
    name: String,
    value: Option<&'a Value>,
}

impl<'a> Case<'a> {
    pub fn new(meta: &'a Value, file: &'a File) -> Self {
        Case {
            meta,
            file,
            read: RefCell::default(),
            inputs: RefCell::default(),
            params: RefCell::default(),
            buffers: RefCell::default(),
        }
    }

    /// Argument `name` of the call or else of the constructor, or the one at `index`: an entry that
    /// reads so serves a function and the module of the same meaning.
    pub fn arg(&'a self, index: usize, name: &str) -> Arg<'a> {
        if self.meta["ctor"].get(name).is_some() {
            return self.ctor(name);
        }
        let fwd = &self.meta["fwd"];
        let kwargs = [&fwd["kwargs"], &self.meta["ctor"]["kwargs"]];
        let by_name = kwargs.into_iter().find_map(|k| k.get(name));
        let key = if by_name.is_some() { name.to_owned() } else { index.to_string() };
        self.read.borrow_mut().insert(key);
        let value = by_name.or_else(|| fwd["args"].get(index)).filter(|v| !v.is_null());
        Arg { case: self, name: name.to_owned(), value }
    }

    /// Argument `name` of the constructor.
    pub fn ctor(&'a self, name: &str) -> Arg<'a> {
        self.read.borrow_mut().insert(format!("ctor.{name}"));
        let value = self.meta["ctor"].get(name).filter(|v| !v.is_null());
        Arg { case: self, name: name.to_owned(), value }
    }

    /// The arguments that no one read, as `name=value`.
    pub fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let fwd = &self.meta["fwd"];
        let named = |v: &'a Value| v.as_object().into_iter().flatten();
        let mut left = Vec::new();
        for (i, v) in fwd["args"].as_array().into_iter().flatten().enumerate() {
            if !v.is_null() && !read.contains(&i.to_string()) {
                left.push(format!("argument {i}={v}"));
            }
        }
        let kwargs = named(&fwd["kwargs"]).chain(named(&self.meta["ctor"]["kwargs"]));
        let kwargs = kwargs.map(|(k, v)| (k.clone(), k, v));
        let ctor = named(&self.meta["ctor"]).map(|(k, v)| (format!("ctor.{k}"), k, v));
        for (key, name, v) in kwargs.chain(ctor) {
            let neutral = NEUTRAL.contains(&name.as_str()) || v.is_null();
            if !neutral && !read.contains(&key) {
                left.push(format!("{name}={v}"));
            }
        }
        left
    }

    /// A tensor that the case starts from. Where `widen` is set, an f64 case starts from f32 numbers.
    pub fn given(&self, name: &str) -> Try<Tensor> {
        let t = self.file.tensor(name)?;
        match self.meta["widen"].as_bool() == Some(true) && t.dtype() == DType::Float32 {
            true => Ok(t.to_dtype(DType::Float64)?),
            false => Ok(t),
        }
    }

    pub fn training(&self) -> bool {
        self.meta["training"].as_bool().unwrap_or(true)
    }

    /// Gives a layer the case's parameters, buffers and mode.
    pub fn load(&self, layer: &dyn Module) -> Try<()> {
        self.load_named(layer, layer.named_parameters(), layer.named_buffers())
    }

    /// [`Case::load`] under other names than the layer's own.
    pub fn load_named(
        &self,
        layer: &dyn Module,
        params: Vec<(String, Parameter)>,
        buffers: Vec<(String, Buffer)>,
    ) -> Try<()> {
        let names = |key: &str| -> BTreeSet<String> {
            self.meta[key].as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect()
        };
        let ours: BTreeSet<String> = params.iter().map(|p| p.0.clone()).collect();
        if ours != names("params") {
            let want = names("params");
            return Err(Stop::Error(format!("parameters {ours:?}, PyTorch has {want:?}")));
        }
        let ours: BTreeSet<String> = buffers.iter().map(|b| b.0.clone()).collect();
        if ours != names("buffers") {
            let want = names("buffers");
            return Err(Stop::Error(format!("buffers {ours:?}, PyTorch has {want:?}")));
        }
        let shape_fits = |name: &str, ours: Vec<i64>, t: &Tensor| match ours == t.shape() {
            true => Ok(()),
            false => Err(Stop::Error(format!("{name} is {ours:?}, PyTorch's is {:?}", t.shape()))),
        };
        for (name, p) in &params {
            let t = self.given(self.meta["params"][name].as_str().unwrap_or(name))?;
            shape_fits(name, p.variable.shape(), &t)?;
            p.variable.set_data(t);
        }
        for (name, b) in &buffers {
            let t = self.given(self.meta["buffers"][name].as_str().unwrap_or(name))?;
            shape_fits(name, b.shape(), &t)?;
            b.set(t);
        }
        layer.set_training(self.training());
        self.params.replace(params);
        self.buffers.replace(buffers);
        Ok(())
    }

    /// A layer of one input: its state, then its forward.
    pub fn layer(&'a self, layer: impl Module) -> Run {
        self.load(&layer)?;
        one(layer.forward(&self.arg(0, "input").var()?))
    }

    fn variable(&self, name: &str) -> Try<Variable> {
        if let Some(v) = self.inputs.borrow().get(name) {
            return Ok(v.clone());
        }
        let mut t = self.given(name)?;
        let viewed = self.meta["view"].as_array().is_some_and(|a| a.iter().any(|v| v == name));
        if viewed {
            // The same values with other strides: copied transposed, then seen transposed.
            let last = t.ndim() as i32 - 1;
            t = t.transpose(0, last)?.contiguous()?.transpose(0, last)?;
        }
        let wants_grad = self.meta["grad_in"].get(name).is_some();
        let v = Variable::new(t, wants_grad);
        self.inputs.borrow_mut().insert(name.to_owned(), v.clone());
        Ok(v)
    }
}

fn number(v: &Value) -> Option<f64> {
    match v {
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Number(n) => n.as_f64(),
        Value::Object(o) => o.get("$f")?.as_str()?.parse().ok(),
        _ => None,
    }
}

impl<'a> Arg<'a> {
    fn bad<T>(&self, want: &str) -> Try<T> {
        match self.value {
            Some(v) => unsupported(format!("{}={v} (not {want})", self.name)),
            None => unsupported(format!("{} absent (not {want})", self.name)),
        }
    }

    pub fn is_none(&self) -> bool {
        self.value.is_none()
    }

    pub fn is_tensor(&self) -> bool {
        self.value.is_some_and(|v| v.get("$t").is_some())
    }

    pub fn is_list(&self) -> bool {
        self.value.is_some_and(Value::is_array)
    }

    /// Stops unless the value is absent, null, or this one.
    pub fn only(&self, expected: impl Into<Value>) -> Try<()> {
        let expected = expected.into();
        match self.value {
            None => Ok(()),
            Some(v)
                if *v == expected || (number(v).is_some() && number(v) == number(&expected)) =>
            {
                Ok(())
            }
            Some(v) => unsupported(format!("{}={v}", self.name)),
        }
    }

    /// Stops unless the value is absent or null.
    pub fn absent(&self) -> Try<()> {
        self.value.map_or(Ok(()), |v| {
            let v = if v.get("$t").is_some() { "tensor".to_owned() } else { v.to_string() };
            unsupported(format!("{}={v}", self.name))
        })
    }

    fn name_of_tensor(&self) -> Option<&'a str> {
        self.value.and_then(|v| v.get("$t")).and_then(Value::as_str)
    }

    pub fn var(&self) -> Try<Variable> {
        match self.name_of_tensor() {
            Some(name) => self.case.variable(name),
            None => match self.value.and_then(number) {
                // A number where a tensor can stand too.
                Some(n) => {
                    let dtype = match self.case.meta["dtype"].as_str() {
                        Some("float64") => DType::Float64,
                        _ => DType::Float32,
                    };
                    let t = Tensor::from_f64(&[n], &[], Device::CPU)?.to_dtype(dtype)?;
                    Ok(Variable::new(t, false))
                }
                None => self.bad("a tensor"),
            },
        }
    }

    pub fn tensor(&self) -> Try<Tensor> {
        Ok(self.var()?.data())
    }

    pub fn opt_var(&self) -> Try<Option<Variable>> {
        if self.is_none() { Ok(None) } else { self.var().map(Some) }
    }

    pub fn opt_tensor(&self) -> Try<Option<Tensor>> {
        if self.is_none() { Ok(None) } else { self.tensor().map(Some) }
    }

    /// A list of tensors.
    pub fn vars(&self) -> Try<Vec<Variable>> {
        let Some(list) = self.value.and_then(Value::as_array) else { return self.bad("a list") };
        list.iter()
            .map(|v| Arg { case: self.case, name: self.name.clone(), value: Some(v) }.var())
            .collect()
    }

    pub fn f64(&self) -> Try<f64> {
        if self.is_tensor() {
            return Ok(self.tensor()?.item()?);
        }
        self.value.and_then(number).map_or_else(|| self.bad("a number"), Ok)
    }

    pub fn f64_or(&self, default: f64) -> Try<f64> {
        if self.is_none() { Ok(default) } else { self.f64() }
    }

    pub fn i64(&self) -> Try<i64> {
        let n = self.f64()?;
        if n.fract() == 0.0 { Ok(n as i64) } else { self.bad("an integer") }
    }

    pub fn i64_or(&self, default: i64) -> Try<i64> {
        if self.is_none() { Ok(default) } else { self.i64() }
    }

    pub fn i32(&self) -> Try<i32> {
        Ok(self.i64()? as i32)
    }

    pub fn i32_or(&self, default: i32) -> Try<i32> {
        Ok(self.i64_or(default.into())? as i32)
    }

    pub fn bool_or(&self, default: bool) -> Try<bool> {
        Ok(self.f64_or(default.into())? != 0.0)
    }

    pub fn str_or(&self, default: &'a str) -> Try<&'a str> {
        match self.value {
            None => Ok(default),
            Some(v) => v.as_str().map_or_else(|| self.bad("a word"), Ok),
        }
    }

    /// A word, or the name of a function.
    pub fn name(&self) -> Try<&'a str> {
        match self.value.and_then(|v| v.get("$fn").or(Some(v))?.as_str()) {
            Some(name) => Ok(name),
            None => self.bad("a name"),
        }
    }

    /// An integer or a list of them.
    pub fn ints(&self) -> Try<Vec<i64>> {
        match self.value.and_then(Value::as_array) {
            Some(list) => list
                .iter()
                .map(|v| Arg { case: self.case, name: self.name.clone(), value: Some(v) }.i64())
                .collect(),
            None => Ok(vec![self.i64()?]),
        }
    }

    /// An integer or a list of them, each of which may be null.
    pub fn maybe_ints(&self) -> Try<Vec<Option<i64>>> {
        let list = match self.value {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(v) => vec![v],
            None => return self.bad("sizes"),
        };
        Ok(list.into_iter().map(Value::as_i64).collect())
    }

    pub fn dims(&self) -> Try<Vec<i32>> {
        Ok(self.ints()?.into_iter().map(|d| d as i32).collect())
    }

    /// One integer for each of N dims; a lone one counts for all.
    pub fn array<const N: usize>(&self) -> Try<[i64; N]> {
        let ints = self.ints()?;
        match ints.len() {
            1 => Ok([ints[0]; N]),
            n if n == N => Ok(std::array::from_fn(|i| ints[i])),
            _ => self.bad("of this rank"),
        }
    }

    pub fn array_or<const N: usize>(&self, default: [i64; N]) -> Try<[i64; N]> {
        if self.is_none() { Ok(default) } else { self.array() }
    }

    /// A dtype, if one is given.
    pub fn dtype(&self) -> Try<Option<DType>> {
        match self.value.map(|v| v["$dtype"].as_str()) {
            None => Ok(None),
            Some(Some("float32")) => Ok(Some(DType::Float32)),
            Some(Some("float64")) => Ok(Some(DType::Float64)),
            Some(_) => self.bad("a dtype that we have"),
        }
    }

    /// Numbers of a list.
    pub fn numbers(&self) -> Try<Vec<f64>> {
        match self.value.and_then(Value::as_array) {
            Some(list) => {
                list.iter().map(|v| number(v).map_or_else(|| self.bad("numbers"), Ok)).collect()
            }
            None => Ok(vec![self.f64()?]),
        }
    }
}
