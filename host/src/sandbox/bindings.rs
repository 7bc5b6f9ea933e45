//! Bindings generated from the WIT contract.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "windowing-component",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
});
