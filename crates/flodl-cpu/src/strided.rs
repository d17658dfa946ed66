//! Views: a slice with dims and strides, as every strided kernel takes its inputs.

/// A read-only strided view. `data[0]` is the element at index 0 of every dim; a stride is in
/// elements and is 0 along a broadcast dim. All views of one kernel call have the same dims.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The elements, from the view's first one on.
    pub data: &'a [T],
    /// Size of each dim.
    pub dims: &'a [usize],
    /// Elements between neighbours along each dim.
    pub strides: &'a [usize],
}
