//! Elastic addresses. Always: several are asked for at once; taking one from whoever has it is said
//! in so many words, since AWS and its imitations differ in what they do otherwise.

use crate::error::{Error, Kind};
use crate::open::Aws;
use aws_sdk_ec2::types;
use std::net::Ipv4Addr;

/// An elastic address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Id of its allocation.
    pub allocation: String,
    /// The address.
    pub public: Option<Ipv4Addr>,
    /// Id of its association; none when nobody has it.
    pub association: Option<String>,
    /// The network interface that has it.
    pub eni: Option<String>,
    /// The private address there that it stands for.
    pub private: Option<Ipv4Addr>,
    /// The instance of that network interface.
    pub instance: Option<String>,
}

impl Aws {
    /// These addresses, in one question.
    ///
    /// # Errors
    /// One is not there ([`Kind::AllocationNotFound`]), or they could not be asked for.
    pub async fn addresses(&self, allocations: &[&str]) -> Result<Vec<Address>, Error> {
        if allocations.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "look at elastic addresses";
        let owned = allocations.iter().map(|id| (*id).to_owned()).collect();
        let asked = self.ec2.describe_addresses().set_allocation_ids(Some(owned));
        let found = self.read(doing, &allocations.join(" "), asked.send()).await?;
        let found: Vec<Address> = found.addresses().iter().map(address).collect();
        let lost = allocations.iter().find(|id| !found.iter().any(|one| one.allocation == **id));
        match lost {
            Some(id) => Err(Error::missing(Kind::AllocationNotFound, doing, id, "it is not there")),
            None => Ok(found),
        }
    }

    /// Gives an address to a network interface, from whoever has it; to the first private address
    /// there, or to `private`. Gives the id of the association. Sent once.
    ///
    /// # Errors
    /// Address or interface are not there; or what became of it is not known
    /// ([`Error::outcome_is_unknown`]).
    pub async fn associate(
        &self,
        allocation: &str,
        eni: &str,
        private: Option<Ipv4Addr>,
    ) -> Result<String, Error> {
        let asked = self
            .ec2_once
            .associate_address()
            .allocation_id(allocation)
            .network_interface_id(eni)
            .set_private_ip_address(private.map(|address| address.to_string()))
            .allow_reassociation(true);
        let object = format!("{allocation} with {eni}");
        let done = self.write("associate", &object, asked.send()).await?;
        Ok(done.association_id().unwrap_or_default().to_owned())
    }

    /// Ends an association, and no other one. Sent once.
    ///
    /// # Errors
    /// It is no more ([`Kind::AssociationNotFound`]); or what became of it is not known
    /// ([`Error::outcome_is_unknown`]).
    pub async fn disassociate(&self, association: &str) -> Result<(), Error> {
        let asked = self.ec2_once.disassociate_address().association_id(association);
        self.write("disassociate", association, asked.send()).await.map(drop)
    }
}

fn address(of: &types::Address) -> Address {
    // An empty text is what AWS answers for none in places.
    let text = |value: Option<&str>| value.filter(|text| !text.is_empty()).map(str::to_owned);
    Address {
        allocation: of.allocation_id().unwrap_or_default().to_owned(),
        public: of.public_ip().and_then(|text| text.parse().ok()),
        association: text(of.association_id()),
        eni: text(of.network_interface_id()),
        private: of.private_ip_address().and_then(|text| text.parse().ok()),
        instance: text(of.instance_id()),
    }
}
