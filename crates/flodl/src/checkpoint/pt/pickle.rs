//! An interpreter of pickle programs that can make plain values and calls nothing.
//!
//! Values live in one list and refer to each other by number, so a program can neither overflow the
//! stack by depth nor exhaust memory by sharing: it makes at most as many values as it has opcodes.

/// Number of a value.
pub type Id = u32;

/// What a program can make.
#[derive(Clone, Debug)]
pub enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name that the program may mention; see [`known`].
    Global(&'static str),
    /// A reference to bytes in the archive.
    Persistent(Id),
    /// `torch._utils._rebuild_tensor_v2` of a tuple.
    Tensor(Id),
}

/// The values of a program, and which of them is its result.
#[derive(Debug)]
pub struct Heap {
    nodes: Vec<Node>,
    pub root: Id,
}

impl Heap {
    pub fn get(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}

const ORDERED_DICT: &str = "collections.OrderedDict";
const SET: &str = "builtins.set";
const REBUILD_TENSOR: &str = "torch._utils._rebuild_tensor_v2";
const REBUILD_PARAMETER: &str = "torch._utils._rebuild_parameter";
const SIZE: &str = "torch.Size";

/// The names that a program may mention.
fn known(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 36] = [
        ORDERED_DICT,
        SET,
        REBUILD_TENSOR,
        REBUILD_PARAMETER,
        SIZE,
        "torch.FloatStorage",
        "torch.DoubleStorage",
        "torch.HalfStorage",
        "torch.BFloat16Storage",
        "torch.LongStorage",
        "torch.IntStorage",
        "torch.ShortStorage",
        "torch.CharStorage",
        "torch.ByteStorage",
        "torch.BoolStorage",
        "torch.float32",
        "torch.float",
        "torch.float64",
        "torch.double",
        "torch.float16",
        "torch.half",
        "torch.bfloat16",
        "torch.int64",
        "torch.long",
        "torch.int32",
        "torch.int",
        "torch.int16",
        "torch.short",
        "torch.int8",
        "torch.uint8",
        "torch.bool",
        "torch.strided",
        "torch.preserve_format",
        "torch.contiguous_format",
        "torch.channels_last",
        "torch.serialization._get_layout",
    ];
    // Python 2 knew the module of set by another name.
    let name = if name == "__builtin__.set" { SET } else { name };
    NAMES.iter().find(|&&n| n == name).copied()
}

type Result<T> = std::result::Result<T, String>;

struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: std::collections::HashMap<u32, Id>,
}

/// Runs a program.
pub fn run(program: &[u8]) -> Result<Heap> {
    let mut m = Machine {
        program,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: std::collections::HashMap::new(),
    };
    loop {
        let start = m.at;
        match m.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Heap { nodes: m.nodes, root }),
            Err(e) => return Err(format!("byte {start}: {e}")),
        }
    }
}

impl Machine<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).filter(|&e| e <= self.program.len());
        let Some(end) = end else { return Err("the program ends too early".into()) };
        let bytes = &self.program[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn number(&mut self, n: usize) -> Result<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)))
    }

    fn length(&mut self, n: usize) -> Result<usize> {
        usize::try_from(self.number(n)?).map_err(|_| "a length beyond memory".into())
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.program[self.at.min(self.program.len())..];
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            return Err("the program ends too early".into());
        };
        let text = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(text)
    }

    fn text(&mut self, n: usize) -> Result<String> {
        let bytes = self.take(n)?.to_vec();
        String::from_utf8(bytes).map_err(|_| "text that is not UTF-8".into())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id> {
        // Nothing below the last mark may be taken.
        if self.marks.last().is_some_and(|&m| self.stack.len() <= m) {
            return Err("takes a value that is not there".into());
        }
        self.stack.pop().ok_or_else(|| "takes a value that is not there".into())
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| "uses a value that is not there".into())
    }

    /// The values above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or("uses a mark that is not there")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let id = self.top()?;
        match &mut self.nodes[id as usize] {
            Node::List(list) => list.extend(items),
            _ => return Err("appends to something that is no list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<()> {
        let id = self.top()?;
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        match &mut self.nodes[id as usize] {
            Node::Dict(dict) => dict.extend(items.chunks_exact(2).map(|c| (c[0], c[1]))),
            _ => return Err("sets an item of something that is no dictionary".into()),
        }
        Ok(())
    }

    fn global(&mut self, name: &str) -> Result<()> {
        match known(name) {
            Some(name) => {
                self.push(Node::Global(name));
                Ok(())
            }
            None => Err(format!(
                "asks for the Python object {name:?}, which is refused: only tensors and plain \
                 values are read"
            )),
        }
    }

    /// A call of one of the known names.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Node::Tuple(items) = &self.nodes[arguments as usize] else {
            return Err("calls with arguments that are no tuple".into());
        };
        let name = match &self.nodes[function as usize] {
            Node::Global(name) => *name,
            _ => return Err("calls something that is no name".into()),
        };
        let node = match (name, &items[..]) {
            (ORDERED_DICT, []) => Node::Dict(Vec::new()),
            (ORDERED_DICT, &[pairs]) => Node::Dict(self.pairs(pairs)?),
            (SET | SIZE, []) => Node::List(Vec::new()),
            (SET | SIZE, &[list]) => match &self.nodes[list as usize] {
                Node::List(items) | Node::Tuple(items) => Node::List(items.clone()),
                _ => return Err(format!("calls {name} with something that is no list")),
            },
            (REBUILD_TENSOR, _) => Node::Tensor(arguments),
            // The data, whether it wants a gradient, hooks.
            (REBUILD_PARAMETER, &[data, ..]) => match self.nodes[data as usize] {
                Node::Tensor(of) => Node::Tensor(of),
                _ => return Err("a parameter of something that is no tensor".into()),
            },
            _ => return Err(format!("calls {name}, which is refused")),
        };
        self.push(node);
        Ok(())
    }

    /// A list of pairs.
    fn pairs(&self, id: Id) -> Result<Vec<(Id, Id)>> {
        let bad = || "makes a dictionary of something that is no list of pairs".to_owned();
        let items = match &self.nodes[id as usize] {
            Node::List(items) | Node::Tuple(items) => items,
            _ => return Err(bad()),
        };
        items
            .iter()
            .map(|&i| match &self.nodes[i as usize] {
                Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
                _ => Err(bad()),
            })
            .collect()
    }

    /// One opcode; the result at the end.
    fn step(&mut self) -> Result<Option<Id>> {
        let opcode = self.take(1)?[0];
        match opcode {
            // PROTO, FRAME
            0x80 => {
                let version = self.number(1)?;
                if version > 5 {
                    return Err(format!("pickle protocol {version}"));
                }
            }
            0x95 => {
                self.number(8)?;
            }
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.marked()?;
            }
            b'2' => {
                let id = self.top()?;
                self.stack.push(id);
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' => {
                let v = self.number(4)? as u32 as i32;
                self.push(Node::Int(v.into()));
            }
            b'K' => {
                let v = self.number(1)?;
                self.push(Node::Int(v as i64));
            }
            b'M' => {
                let v = self.number(2)?;
                self.push(Node::Int(v as i64));
            }
            // LONG1: two's complement of any length
            0x8a => {
                let n = self.length(1)?;
                let bytes = self.take(n)?;
                if n > 8 {
                    return Err(format!("a number of {n} bytes"));
                }
                let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut word = [fill; 8];
                word[..n].copy_from_slice(bytes);
                self.push(Node::Int(i64::from_le_bytes(word)));
            }
            b'G' => {
                let bits = self.take(8)?.iter().fold(0, |v, &b| v << 8 | u64::from(b));
                self.push(Node::Float(f64::from_bits(bits)));
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' | 0x8c | 0x8d => {
                let n = self.length(match opcode {
                    b'X' => 4,
                    0x8c => 1,
                    _ => 8,
                })?;
                let text = self.text(n)?;
                self.push(Node::Str(text));
            }
            // SHORT_BINSTRING and BINSTRING of Python 2 are text if they can be.
            b'U' | b'T' => {
                let n = self.length(if opcode == b'U' { 1 } else { 4 })?;
                let bytes = self.take(n)?.to_vec();
                self.push(match String::from_utf8(bytes) {
                    Ok(text) => Node::Str(text),
                    Err(e) => Node::Bytes(e.into_bytes()),
                });
            }
            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
            b'C' | b'B' | 0x8e | 0x96 => {
                let n = self.length(match opcode {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                })?;
                let bytes = self.take(n)?.to_vec();
                self.push(Node::Bytes(bytes));
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.marked()?;
                self.push(Node::Tuple(items));
            }
            // Sets are lists here.
            b']' | 0x8f => self.push(Node::List(Vec::new())),
            b'l' | 0x91 => {
                let items = self.marked()?;
                self.push(Node::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.marked()?;
                self.push(Node::Dict(Vec::new()));
                self.set_items(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.set_items(items)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.global(&name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module as usize], &self.nodes[name as usize]) {
                    (Node::Str(module), Node::Str(name)) => {
                        let name = format!("{module}.{name}");
                        self.global(&name)?;
                    }
                    _ => return Err("asks for a name that is no text".into()),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::Persistent(id));
            }
            b'R' | 0x81 => self.reduce()?,
            // BUILD: attributes of an object, such as the _metadata of a state_dict
            b'b' => {
                self.pop()?;
                let id = self.top()?;
                if !matches!(self.nodes[id as usize], Node::Dict(_) | Node::Tensor(_)) {
                    return Err("sets the state of something that is no dictionary".into());
                }
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' | b'r' | 0x94 => {
                let key = match opcode {
                    b'q' => self.number(1)? as u32,
                    b'r' => self.number(4)? as u32,
                    _ => self.memo.len() as u32,
                };
                let id = self.top()?;
                self.memo.insert(key, id);
            }
            b'h' | b'j' => {
                let key = self.number(if opcode == b'h' { 1 } else { 4 })? as u32;
                let id = self.memo.get(&key).copied();
                self.stack.push(id.ok_or_else(|| format!("asks for memo {key}, which is empty"))?);
            }
            _ => return Err(format!("opcode 0x{opcode:02x}, which is refused")),
        }
        Ok(None)
    }
}
