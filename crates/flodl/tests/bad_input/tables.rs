//! Embeddings.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    (
        "Embedding no rows",
        || unit(Embedding::new(0, 3)),
        "Embedding: table size [0, 3] must be positive",
    ),
    (
        "Embedding no columns",
        || unit(Embedding::new(5, 0)),
        "Embedding: table size [5, 0] must be positive",
    ),
    (
        "Embedding index",
        || unit(Embedding::new(5, 3)?.forward(&Variable::new(i(&[0, 5]), false))),
        "embedding: index 5 is out of range for size 5",
    ),
    (
        "Embedding negative",
        || unit(Embedding::new(5, 3)?.forward(&Variable::new(i(&[-1]), false))),
        "embedding: index -1 is out of range for size 5",
    ),
    (
        "Embedding floats",
        || unit(Embedding::new(5, 3)?.forward(&v(&[2]))),
        "embedding: expected integer indices, got dtype float32",
    ),
    (
        "Embedding padding",
        || unit(Embedding::with_padding_idx(5, 3, Some(5))),
        "Embedding: index 5 is out of range for size 5",
    ),
    (
        "Embedding padding below",
        || unit(Embedding::with_padding_idx(5, 3, Some(-6))),
        "Embedding: index -6 is out of range for size 5",
    ),
    (
        "Embedding device",
        || unit(Embedding::on_device(5, 3, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "EmbeddingBag no rows",
        || unit(EmbeddingBag::new(0, 3)),
        "EmbeddingBag: table size [0, 3] must be positive",
    ),
    (
        "EmbeddingBag no columns",
        || unit(EmbeddingBag::new(5, -1)),
        "EmbeddingBag: table size [5, -1] must be positive",
    ),
    (
        "EmbeddingBag index",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[5]), &i(&[0]), 0)),
        "embedding_bag: index 5 is out of range for size 5",
    ),
    (
        "EmbeddingBag negative",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[-1]), &i(&[0]), 0)),
        "embedding_bag: index -1 is out of range for size 5",
    ),
    (
        "EmbeddingBag mode",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1]), &i(&[0]), 3)),
        "embedding_bag: mode 3 is none of 0 (sum), 1 (mean), 2 (max)",
    ),
    (
        "EmbeddingBag mode -1",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1]), &i(&[0]), -1)),
        "embedding_bag: mode -1 is none of 0 (sum), 1 (mean), 2 (max)",
    ),
    (
        "EmbeddingBag first offset",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]), &i(&[1]), 0)),
        "embedding_bag: offsets must start at 0, not decrease and not exceed 2 indices",
    ),
    (
        "EmbeddingBag late offset",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]), &i(&[0, 3]), 1)),
        "embedding_bag: offsets must start at 0, not decrease and not exceed 2 indices",
    ),
    (
        "EmbeddingBag offsets back",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2, 3]), &i(&[0, 2, 1]), 2)),
        "embedding_bag: offsets must start at 0, not decrease and not exceed 3 indices",
    ),
    (
        "EmbeddingBag no offsets",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]), &i(&[]), 0)),
        "embedding_bag: offsets must start at 0, not decrease and not exceed 2 indices",
    ),
    (
        "EmbeddingBag floats",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&t(&[2]), &i(&[0]), 0)),
        "embedding_bag: expected integer indices, got dtype float32",
    ),
    (
        "EmbeddingBag float offsets",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1]), &t(&[1]), 0)),
        "embedding_bag: expected integer indices, got dtype float32",
    ),
    (
        "EmbeddingBag matrix and offsets",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]).reshape(&[1, 2])?, &i(&[0]), 0)),
        "embedding_bag: expected indices [total] and offsets [bags], got shape [1, 2]",
    ),
    (
        "EmbeddingBag one dim",
        || unit(EmbeddingBag::new(5, 3)?.forward(&Variable::new(i(&[1]), false))),
        "EmbeddingBag: expected indices [num_bags, size]; use forward_bag for bags of varying size, got shape [1]",
    ),
    (
        "EmbeddingBag padding",
        || unit(EmbeddingBag::new(5, 3)?.padding_idx(5)),
        "EmbeddingBag: index 5 is out of range for size 5",
    ),
];
