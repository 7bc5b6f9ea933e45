//! What the OpenAPI description says beyond the routes: the kind of token, and the errors.

use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi as OpenApiDocument, PathItem, RefOr, Schema};
use utoipa::{Modify, OpenApi};

use crate::problem_body::{ProblemBody, ProblemLocation};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cofferdam",
        description = "Jobs and components of a Cofferdam server. An answer that is not a success is a problem document \
                       with a stable `code`. A server with tokens requires one for each request that has a `security` entry."
    ),
    components(schemas(ProblemBody, ProblemLocation)),
    modifiers(&TokenSecurity)
)]
pub(super) struct ApiDescription;

/// Adds the security scheme of tokens.
struct TokenSecurity;

/// Name of the security scheme.
const SCHEME: &str = "token";

impl Modify for TokenSecurity {
    fn modify(&self, openapi: &mut OpenApiDocument) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_with(Components::default).add_security_scheme(SCHEME, scheme);
        openapi.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(SCHEME, [])]);
    }
}

/// Removes `null` from the types of parameters. A parameter that is not required can be absent, but no text is `null`.
pub(super) fn without_null_parameters(mut openapi: OpenApiDocument) -> OpenApiDocument {
    for PathItem { get, put, post, delete, .. } in openapi.paths.paths.values_mut() {
        let operations = [get, put, post, delete].into_iter().flatten();
        for parameter in operations.filter_map(|operation| operation.parameters.as_mut()).flatten() {
            let RefOr::T(Parameter { schema: Some(RefOr::T(Schema::Object(schema))), .. }) = parameter else {
                continue;
            };
            if let SchemaType::Array(types) = &mut schema.schema_type {
                types.retain(|one| *one != Type::Null);
                if let [only] = types.as_slice() {
                    schema.schema_type = SchemaType::Type(only.clone());
                }
            }
        }
    }
    openapi
}

/// Puts the tag of each operation in front of its id, such as `jobs-list`. The functions of two modules may have equal names.
pub(super) fn with_unique_operations(mut openapi: OpenApiDocument) -> OpenApiDocument {
    for PathItem { get, put, post, delete, patch, .. } in openapi.paths.paths.values_mut() {
        for operation in [get, put, post, delete, patch].into_iter().flatten() {
            let tag = operation.tags.iter().flatten().next().map_or("", String::as_str);
            let name = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{tag}-{}", name.replace('_', "-")));
        }
    }
    openapi
}
