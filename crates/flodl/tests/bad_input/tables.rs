//! Embeddings.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    ("Embedding no rows", || unit(Embedding::new(0, 3)), ""),
    ("Embedding no columns", || unit(Embedding::new(5, 0)), ""),
    (
        "Embedding index",
        || unit(Embedding::new(5, 3)?.forward(&Variable::new(i(&[0, 5]), false))),
        "",
    ),
    (
        "Embedding negative",
        || unit(Embedding::new(5, 3)?.forward(&Variable::new(i(&[-1]), false))),
        "",
    ),
    ("Embedding floats", || unit(Embedding::new(5, 3)?.forward(&v(&[2]))), ""),
    ("Embedding padding", || unit(Embedding::with_padding_idx(5, 3, Some(5))), ""),
    ("Embedding padding below", || unit(Embedding::with_padding_idx(5, 3, Some(-6))), ""),
    ("Embedding device", || unit(Embedding::on_device(5, 3, Device::CUDA(0))), ""),
    ("EmbeddingBag no rows", || unit(EmbeddingBag::new(0, 3)), ""),
    ("EmbeddingBag no columns", || unit(EmbeddingBag::new(5, -1)), ""),
    (
        "EmbeddingBag index",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[5]), &i(&[0]), 0)),
        "",
    ),
    (
        "EmbeddingBag negative",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[-1]), &i(&[0]), 0)),
        "",
    ),
    ("EmbeddingBag mode", || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1]), &i(&[0]), 3)), ""),
    (
        "EmbeddingBag mode -1",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1]), &i(&[0]), -1)),
        "",
    ),
    (
        "EmbeddingBag first offset",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]), &i(&[1]), 0)),
        "",
    ),
    (
        "EmbeddingBag late offset",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]), &i(&[0, 3]), 1)),
        "",
    ),
    (
        "EmbeddingBag offsets back",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2, 3]), &i(&[0, 2, 1]), 2)),
        "",
    ),
    (
        "EmbeddingBag no offsets",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]), &i(&[]), 0)),
        "",
    ),
    (
        "EmbeddingBag floats",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&t(&[2]), &i(&[0]), 0)),
        "",
    ),
    (
        "EmbeddingBag float offsets",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1]), &t(&[1]), 0)),
        "",
    ),
    (
        "EmbeddingBag matrix and offsets",
        || unit(EmbeddingBag::new(5, 3)?.forward_bag(&i(&[1, 2]).reshape(&[1, 2])?, &i(&[0]), 0)),
        "",
    ),
    (
        "EmbeddingBag one dim",
        || unit(EmbeddingBag::new(5, 3)?.forward(&Variable::new(i(&[1]), false))),
        "",
    ),
    ("EmbeddingBag padding", || unit(EmbeddingBag::new(5, 3)?.padding_idx(5)), ""),
];
