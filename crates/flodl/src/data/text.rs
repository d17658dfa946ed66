//! Text as tokens, and windows of it for language models.

use std::collections::{BTreeSet, HashMap};

use super::BatchDataSet;
use crate::{Device, Error, Result, Tensor};

/// The characters of a text, numbered in their order.
///
/// ```
/// use flodl::*;
/// let vocab = CharVocab::from_text("hello");
/// assert_eq!(vocab.encode("hole")?, [1, 3, 2, 0]);
/// assert_eq!(vocab.decode(&[1, 3, 2, 0])?, "hole");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharVocab {
    chars: Vec<char>,
    ids: HashMap<char, i64>,
}

impl CharVocab {
    /// The characters that occur in a text.
    pub fn from_text(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let ids = chars.iter().enumerate().map(|(i, &c)| (c, i as i64)).collect();
        CharVocab { chars, ids }
    }

    /// Number of characters.
    pub fn len(&self) -> usize {
        self.chars.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// The characters, by token.
    pub fn chars(&self) -> &[char] {
        &self.chars
    }

    /// Tokens of a text.
    ///
    /// # Errors
    /// When a character is not in the vocabulary; the message says which and where.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encode = |(at, c): (usize, char)| {
            let unknown = || format!("{c:?} at character {at} is not in the vocabulary");
            self.ids.get(&c).copied().ok_or_else(|| Error::invalid("CharVocab", unknown()))
        };
        text.chars().enumerate().map(encode).collect()
    }

    /// Text of tokens.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn decode(&self, tokens: &[i64]) -> Result<String> {
        let size = self.chars.len() as i64;
        let decode = |&index: &i64| {
            let c = usize::try_from(index).ok().and_then(|i| self.chars.get(i));
            c.copied().ok_or(Error::IndexOutOfRange { op: "CharVocab", index, size })
        };
        tokens.iter().map(decode).collect()
    }
}

/// The 256 bytes as tokens: any text in any language, nothing to learn and nothing unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteVocab;

impl ByteVocab {
    /// Number of tokens.
    pub fn size(&self) -> usize {
        256
    }

    /// Tokens of a text in UTF-8.
    pub fn encode(&self, text: &str) -> Vec<i64> {
        text.bytes().map(i64::from).collect()
    }

    /// Text of tokens; bytes that are no UTF-8 become replacement characters.
    ///
    /// # Errors
    /// When a token is no byte.
    pub fn decode(&self, tokens: &[i64]) -> Result<String> {
        let byte = |&index: &i64| {
            let out = Error::IndexOutOfRange { op: "ByteVocab", index, size: 256 };
            u8::try_from(index).map_err(|_| out)
        };
        let bytes = tokens.iter().map(byte).collect::<Result<Vec<u8>>>()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Windows of a long row of tokens. A batch is the windows `[N, T]` and, as targets, the same
/// windows one token on.
///
/// ```
/// use flodl::*;
/// let windows = TextWindows::new(vec![0, 1, 2, 3, 4, 5], 3, 2)?;
/// assert_eq!(windows.len(), 2);
/// let batch = windows.get_batch(&[1])?;
/// assert_eq!(batch[0].to_i64_vec()?, [2, 3, 4]);
/// assert_eq!(batch[1].to_i64_vec()?, [3, 4, 5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextWindows {
    tokens: Vec<i64>,
    length: usize,
    stride: usize,
}

impl TextWindows {
    /// Windows of `length` tokens that start every `stride` tokens. Those at the end that are not
    /// full are left out.
    ///
    /// # Errors
    /// When `length` or `stride` is 0, or there is not one full window with its target.
    pub fn new(tokens: Vec<i64>, length: usize, stride: usize) -> Result<Self> {
        let op = "TextWindows";
        if length == 0 || stride == 0 {
            let what = format!("length {length} and stride {stride} must be at least 1");
            return Err(Error::invalid(op, what));
        }
        if tokens.len() <= length {
            let (n, least) = (tokens.len(), length.saturating_add(1));
            let what = format!("{n} tokens are too few: a window and its target take {least}");
            return Err(Error::invalid(op, what));
        }
        Ok(TextWindows { tokens, length, stride })
    }
}

impl BatchDataSet for TextWindows {
    fn len(&self) -> usize {
        (self.tokens.len() - self.length - 1) / self.stride + 1
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        let mut windows = [Vec::new(), Vec::new()];
        for &i in indices {
            if i >= self.len() {
                let (index, size) = (i as i64, self.len() as i64);
                return Err(Error::IndexOutOfRange { op: "TextWindows", index, size });
            }
            for (shift, all) in windows.iter_mut().enumerate() {
                let start = i * self.stride + shift;
                all.extend_from_slice(&self.tokens[start..start + self.length]);
            }
        }
        let shape = [indices.len() as i64, self.length as i64];
        windows.iter().map(|w| Tensor::from_i64(w, &shape, Device::CPU)).collect()
    }
}
