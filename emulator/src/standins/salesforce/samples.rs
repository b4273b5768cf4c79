//! An organisation that samples are about: `emulator run --standin salesforce`.

use super::Salesforce;
use serde_json::json;

impl Salesforce {
    /// Adds accounts and a contact.
    pub fn add_samples(&self) {
        let acme = self.insert("Account", json!({ "Name": "Acme", "Industry": "Energy", "ErpId__c": "erp-1" }));
        self.insert("Account", json!({ "Name": "Bergmann & Söhne", "Industry": "Banking", "ErpId__c": "erp-2" }));
        let contact =
            json!({ "FirstName": "Ada", "LastName": "Lovelace", "Email": "ada@example.com", "AccountId": acme });
        self.insert("Contact", contact);
    }
}
