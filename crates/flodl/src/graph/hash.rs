//! The structural hash: a text that changes with everything that changes results besides weights.

use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use super::plan::Slot;
use super::run::CompiledNode;
use crate::Module;
use crate::hash::fnv1a;

/// FNV-1a over the wiring and over every module's own text, shapes included.
pub(super) fn structural_hash(
    modules: &[Rc<dyn Module>],
    nodes: &[CompiledNode],
    inputs: &[(String, Slot)],
    carried: &[Slot],
    output: Slot,
) -> String {
    let mut text = format!("{inputs:?} {carried:?} {output}");
    for node in nodes {
        // Writing to a String does not fail.
        let _ = write!(text, "\n{node:?}");
    }
    let mut seen = HashMap::new();
    for module in modules {
        module_text(&**module, &mut seen, &mut text);
    }
    format!("{:016x}", fnv1a(text.bytes()))
}

/// [`structural_hash`] of any module.
pub(crate) fn module_hash(module: &dyn Module) -> String {
    let mut text = String::new();
    module_text(module, &mut HashMap::new(), &mut text);
    format!("{:016x}", fnv1a(text.bytes()))
}

fn module_text(module: &dyn Module, seen: &mut HashMap<usize, usize>, text: &mut String) {
    if let Some(id) = module.identity() {
        let number = seen.len();
        if let Some(first) = seen.get(&id) {
            // Shared weights are another model than equal ones.
            let _ = write!(text, "\nshared {first}");
            return;
        }
        seen.insert(id, number);
    }
    let own = module.structural_hash().unwrap_or_default();
    let _ = write!(text, "\n{} {own} (", module.name());
    for p in module.parameters() {
        let _ = write!(text, "{}{:?}", p.name, p.variable.shape());
    }
    for b in module.buffers() {
        let _ = write!(text, "{}{:?}", b.name, b.shape());
    }
    for child in module.sub_modules() {
        module_text(&*child, seen, text);
    }
    text.push(')');
}
