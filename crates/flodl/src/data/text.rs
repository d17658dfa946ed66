//! Text as tokens, and windows of it for language models.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::{BatchDataSet, read_maybe_gz};
use crate::{Device, Error, Result, Tensor};

/// Turns text into numbers and back.
pub trait Tokenizer: Send + Sync {
    /// Number of different tokens.
    fn vocab_size(&self) -> usize;
    /// Tokens of a text.
    ///
    /// # Errors
    /// When the vocabulary lacks some of it.
    fn encode(&self, text: &str) -> Result<Vec<i64>>;
    /// Text of tokens.
    ///
    /// # Errors
    /// When a number is no token.
    fn decode(&self, tokens: &[i64]) -> Result<String>;
}

/// One token a byte of UTF-8: 256 tokens, nothing to learn, nothing unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByteTokenizer;

impl Tokenizer for ByteTokenizer {
    fn vocab_size(&self) -> usize {
        256
    }

    fn encode(&self, text: &str) -> Result<Vec<i64>> {
        Ok(text.bytes().map(i64::from).collect())
    }

    /// Bytes that are no UTF-8 become the replacement character.
    fn decode(&self, tokens: &[i64]) -> Result<String> {
        let byte = |&t: &i64| {
            u8::try_from(t).map_err(|_| Error::IndexOutOfRange {
                op: "ByteTokenizer",
                index: t,
                size: 256,
            })
        };
        let bytes = tokens.iter().map(byte).collect::<Result<Vec<u8>>>()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One token a character, numbered in their order in Unicode.
///
/// ```
/// use flodl::*;
/// let vocab = CharVocab::from_text("hello");
/// assert_eq!(vocab.encode("hole")?, [1, 3, 2, 0]);
/// assert_eq!(vocab.decode(&[1, 3, 2, 0])?, "hole");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CharVocab {
    chars: Vec<char>,
    codes: HashMap<char, i64>,
}

impl CharVocab {
    /// The characters of a text.
    pub fn from_text(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let codes = chars.iter().enumerate().map(|(i, &c)| (c, i as i64)).collect();
        CharVocab { chars, codes }
    }

    /// The characters; a token is a place in this list.
    pub fn chars(&self) -> &[char] {
        &self.chars
    }
}

impl Tokenizer for CharVocab {
    fn vocab_size(&self) -> usize {
        self.chars.len()
    }

    fn encode(&self, text: &str) -> Result<Vec<i64>> {
        text.chars()
            .enumerate()
            .map(|(i, c)| {
                self.codes.get(&c).copied().ok_or_else(|| {
                    let what = format!("character {i}, {c:?}, is not in the vocabulary");
                    Error::invalid("CharVocab", what)
                })
            })
            .collect()
    }

    fn decode(&self, tokens: &[i64]) -> Result<String> {
        tokens
            .iter()
            .map(|&t| {
                let size = self.chars.len() as i64;
                let bad = Error::IndexOutOfRange { op: "CharVocab", index: t, size };
                usize::try_from(t).ok().and_then(|t| self.chars.get(t).copied()).ok_or(bad)
            })
            .collect()
    }
}

/// A text file, plain or gzipped.
///
/// # Errors
/// When it cannot be read or is no UTF-8; the message names the byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    String::from_utf8(read_maybe_gz(path)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::format(path, format!("is not UTF-8 at byte {at}"))
    })
}

/// Windows of a token sequence for next-token prediction: a sample is `window` tokens and the same
/// shifted by one, both int64 `[window]`.
///
/// ```
/// use flodl::*;
/// let set = TokenWindows::new((0..10).collect(), 4, 4)?;
/// let batch = set.get_batch(&[1])?;
/// assert_eq!(batch[0].to_i64_vec()?, [4, 5, 6, 7]);
/// assert_eq!(batch[1].to_i64_vec()?, [5, 6, 7, 8]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenWindows {
    tokens: Vec<i64>,
    window: usize,
    stride: usize,
}

impl TokenWindows {
    /// Windows that start every `stride` tokens.
    ///
    /// # Errors
    /// When window or stride is 0, or there are not tokens enough for one window and its target.
    pub fn new(tokens: Vec<i64>, window: usize, stride: usize) -> Result<Self> {
        let op = "TokenWindows";
        if window == 0 || stride == 0 {
            let what = format!("window {window} and stride {stride} must be at least 1");
            return Err(Error::invalid(op, what));
        }
        if tokens.len() <= window {
            let what = format!("{} tokens are too few for a window of {window}", tokens.len());
            return Err(Error::invalid(op, what));
        }
        Ok(TokenWindows { tokens, window, stride })
    }
}

impl BatchDataSet for TokenWindows {
    fn len(&self) -> usize {
        (self.tokens.len() - self.window - 1) / self.stride + 1
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        super::sets::check_indices("TokenWindows", indices, self.len())?;
        let shape = [indices.len() as i64, self.window as i64];
        [0, 1]
            .into_iter()
            .map(|shift| {
                let rows = indices.iter().flat_map(|&i| {
                    let start = i * self.stride + shift;
                    self.tokens[start..start + self.window].iter().copied()
                });
                Tensor::from_i64(&rows.collect::<Vec<_>>(), &shape, Device::CPU)
            })
            .collect()
    }
}
