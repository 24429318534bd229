//! Where a value of the configuration was written.

use vitald_core::settings::{Node, Origin, Table, Value};

/// Where an item of a list was written; the list itself where the item has no place of its own.
pub(super) fn of_item(table: &Table, key: &str, position: usize) -> Origin {
    match table.entries.get(key) {
        Some(Value { node: Node::List(items), origin, .. }) => {
            items.get(position).map_or(origin, |item| &item.origin).clone()
        }
        Some(value) => value.origin.clone(),
        None => Origin::Default,
    }
}
