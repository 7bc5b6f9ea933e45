//! Errors of librdkafka, by what a caller does about them.

use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};

use crate::error::{
    Error, address_denied, peer_denied, peer_unreachable, source_behind, source_failed, source_missing,
};

/// What a caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KafkaErrorKind {
    /// No broker answers, or the answer says to ask again. Try again.
    Unreachable,
    /// The broker refuses the credentials, the certificate or the operation.
    Denied,
    /// The server's operator does not allow an address that a broker names.
    AddressDenied,
    /// There is no such topic or partition.
    Missing,
    /// The partition does not hold the requested offset.
    OutOfRange,
    /// Another producer has taken over the transactional id.
    Fenced,
    /// The broker will never take the record.
    Rejected,
    /// Anything else.
    Other,
}

/// The result of a call of librdkafka.
pub(super) type KafkaOutcome<T> = std::result::Result<T, KafkaError>;

/// An error of the client, without secrets.
#[derive(Clone, Debug)]
pub(crate) struct KafkaError {
    pub(crate) kind: KafkaErrorKind,
    pub(crate) message: String,
}

impl KafkaError {
    pub(super) fn new(kind: KafkaErrorKind, message: impl Into<String>) -> KafkaError {
        KafkaError { kind, message: message.into() }
    }

    /// Describes an error of `rdkafka`. `doing` says what failed, such as "cannot read the metadata".
    pub(super) fn of(doing: &str, error: &RdKafkaError) -> KafkaError {
        // The text of a wrong setting contains its value, which may be a password.
        if let RdKafkaError::ClientConfig(_, why, key, _) = error {
            return KafkaError::new(KafkaErrorKind::Other, format!("{doing}: {key}: {why}"));
        }
        match error.rdkafka_error_code() {
            Some(code) => KafkaError::of_code(doing, code),
            None => KafkaError::new(KafkaErrorKind::Other, format!("{doing}: {error}")),
        }
    }

    pub(super) fn of_code(doing: &str, code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::new(kind(code), format!("{doing}: {code}{}", needed_right(code)))
    }

    pub(crate) fn is_retriable(&self) -> bool {
        self.kind == KafkaErrorKind::Unreachable
    }

    /// Returns the error of the host for a source or, where the kind does not decide, `source-failed`.
    pub(crate) fn into_source_error(self) -> Error {
        let message = self.message;
        match self.kind {
            KafkaErrorKind::Unreachable => peer_unreachable(message).hint(
                "check that a broker listens at `brokers`, and that it advertises addresses that this machine reaches",
            ),
            KafkaErrorKind::Denied => {
                peer_denied(message).hint("correct `security`, or let the broker's administrator grant the operation")
            }
            KafkaErrorKind::AddressDenied => address_denied(message).hint(ADDRESS_HINT),
            KafkaErrorKind::Missing => source_missing(message).hint("create the topic, or correct its name"),
            KafkaErrorKind::OutOfRange => source_behind(message),
            KafkaErrorKind::Fenced | KafkaErrorKind::Rejected | KafkaErrorKind::Other => source_failed(message),
        }
    }
}

/// What to do about [`KafkaErrorKind::AddressDenied`].
pub(crate) const ADDRESS_HINT: &str =
    "start the server with --allow-address for all addresses in the brokers' `advertised.listeners`";

fn kind(code: RDKafkaErrorCode) -> KafkaErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::WaitingForCoordinator
        | Code::PreferredLeaderNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::ConcurrentTransactions
        | Code::KafkaStorageError
        | Code::UnstableOffsetCommit => KafkaErrorKind::Unreachable,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SecurityDisabled => KafkaErrorKind::Denied,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::UnknownPartition
        | Code::InvalidTopic => KafkaErrorKind::Missing,
        Code::OffsetOutOfRange | Code::AutoOffsetReset => KafkaErrorKind::OutOfRange,
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation => KafkaErrorKind::Rejected,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => KafkaErrorKind::Fenced,
        _ => KafkaErrorKind::Other,
    }
}

/// Names the rights of which one is missing.
fn needed_right(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            "; a source needs Read and Describe on the topic, a sink Write and Describe"
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => "; Read on the consumer group is needed",
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            "; Write and Describe on the transactional id are needed"
        }
        _ => "",
    }
}
