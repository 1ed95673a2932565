//! What a command has at hand: the options, the console, and the services of auth.

use super::Options;
use super::resources::Resources;
use crate::Failure;
use crate::connection::{Target, connect};
use crate::console::{Console, Format};
use api::v1::audit_service_client::AuditServiceClient;
use api::v1::bot_service_client::BotServiceClient;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use serde::Serialize;
use tonic::transport::Channel;

/// Lists of a large cluster are larger than what gRPC clients expect by themselves.
const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// One run of a command.
pub(super) struct Session<'a> {
    pub options: &'a Options,
    pub console: &'a mut Console,
    channel: Option<Channel>,
}

impl<'a> Session<'a> {
    pub fn new(options: &'a Options, console: &'a mut Console) -> Self {
        Self { options, console, channel: None }
    }

    /// Where the auth service is.
    pub fn target(&self) -> Result<Target, Failure> {
        self.options.target()
    }

    pub fn resources(&mut self) -> Result<Resources, Failure> {
        let client = ResourceServiceClient::new(self.channel()?);
        Ok(Resources::new(client.max_decoding_message_size(LARGEST_MESSAGE)))
    }

    pub fn bots(&mut self) -> Result<BotServiceClient<Channel>, Failure> {
        Ok(BotServiceClient::new(self.channel()?))
    }

    pub fn cluster(&mut self) -> Result<ClusterServiceClient<Channel>, Failure> {
        let client = ClusterServiceClient::new(self.channel()?);
        Ok(client.max_decoding_message_size(LARGEST_MESSAGE))
    }

    pub fn certificates(&mut self) -> Result<CertificateServiceClient<Channel>, Failure> {
        Ok(CertificateServiceClient::new(self.channel()?))
    }

    pub fn audit(&mut self) -> Result<AuditServiceClient<Channel>, Failure> {
        let client = AuditServiceClient::new(self.channel()?);
        Ok(client.max_decoding_message_size(LARGEST_MESSAGE))
    }

    /// The form of the output: what was asked for, or text.
    pub fn format(&self) -> Format {
        self.options.output().unwrap_or(Format::Text)
    }

    /// Prints `value` in the form that was asked for; `text` prints it for people.
    pub fn show<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T, &mut Console) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.console.show(self.format(), value, text)
    }

    /// The same where text is one sentence.
    pub fn tell<T: Serialize>(&mut self, value: &T, sentence: impl AsRef<str>) -> Result<(), Failure> {
        self.show(value, |_, console| console.say(sentence.as_ref()))
    }

    fn channel(&mut self) -> Result<Channel, Failure> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let channel = connect(&self.options.target()?)?;
        Ok(self.channel.insert(channel).clone())
    }
}
