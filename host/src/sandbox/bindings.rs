//! Bindings generated from the WIT contract.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "full-component",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
});
