//! The bindings that `wit-bindgen` makes of `wit/`: the types of the contract, its imports and the raw export macro.
//!
//! Nothing is written here by hand. On other targets than wasm the types are the same and the imports cannot be called:
//! everything that calls one goes through `host::Host`.

#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "../wit",
    world: "windowing-component",
    pub_export_macro: true,
    default_bindings_module: "cofferdam_sdk::bindings",
});
