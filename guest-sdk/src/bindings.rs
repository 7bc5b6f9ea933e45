//! The bindings that `wit-bindgen` generates from `wit/`: the types of the contract, its imports and the raw export macro.
//!
//! On other targets than Wasm the types are the same, but the imports cannot be called. All code that calls one goes through
//! `host::Host`.

#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "../wit",
    world: "full-component",
    pub_export_macro: true,
    default_bindings_module: "cofferdam_sdk::bindings",
});
