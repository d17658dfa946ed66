//! The public interface, name by name and signature by signature: a program written against these
//! compiles. Each line becomes a call with exactly these types; a wider parameter (an `impl Into`) still
//! accepts it.

#![recursion_limit = "1024"]
#![allow(dead_code, unused_imports, clippy::too_many_arguments, clippy::ptr_arg)]

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flodl::*;

/// Methods and associated functions of a type.
macro_rules! methods {
    ($m:ident: $T:ty; $($rest:tt)*) => {
        mod $m {
            use super::*;
            methods! { @ $T; $($rest)* }
        }
    };
    (@ $T:ty;) => {};
    (@ $T:ty; fn $n:ident(&self $(, $a:ident: $t:ty)*) $(-> $r:ty)?; $($rest:tt)*) => {
        fn $n(this: &$T $(, $a: $t)*) { let _ $(: $r)? = this.$n($($a),*); }
        methods! { @ $T; $($rest)* }
    };
    (@ $T:ty; fn $n:ident(&mut self $(, $a:ident: $t:ty)*) $(-> $r:ty)?; $($rest:tt)*) => {
        fn $n(this: &mut $T $(, $a: $t)*) { let _ $(: $r)? = this.$n($($a),*); }
        methods! { @ $T; $($rest)* }
    };
    (@ $T:ty; fn $n:ident(self $(, $a:ident: $t:ty)*) $(-> $r:ty)?; $($rest:tt)*) => {
        fn $n(this: $T $(, $a: $t)*) { let _ $(: $r)? = this.$n($($a),*); }
        methods! { @ $T; $($rest)* }
    };
    (@ $T:ty; fn $n:ident($($a:ident: $t:ty),*) $(-> $r:ty)?; $($rest:tt)*) => {
        fn $n($($a: $t),*) { let _ $(: $r)? = <$T>::$n($($a),*); }
        methods! { @ $T; $($rest)* }
    };
}

/// Functions at the root of the crate.
macro_rules! free {
    ($(fn $n:ident($($a:ident: $t:ty),*) $(-> $r:ty)?;)*) => {
        mod free {
            use super::*;
            $(fn $n($($a: $t),*) { let _ $(: $r)? = flodl::$n($($a),*); })*
        }
    };
}

#[path = "api/checkpoint.rs"]
mod checkpoint;
#[path = "api/data.rs"]
mod data;
#[path = "api/graph.rs"]
mod graph;
#[path = "api/layers.rs"]
mod layers;
#[path = "api/tensor.rs"]
mod tensor;
#[path = "api/training.rs"]
mod training;
#[path = "api/variable.rs"]
mod variable;
