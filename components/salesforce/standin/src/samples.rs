//! The sample data of `emulator run --standin salesforce`.

use super::Salesforce;
use serde_json::json;

/// The path and the content of the file for bulk jobs.
pub(super) const FILE: (&str, &str) = (
    "/samples/accounts.csv",
    "Name,Industry,ErpId__c\nCobalt,Energy,erp-3\n\"Delta, Inc.\",Banking,erp-4\n",
);

impl Salesforce {
    /// Adds accounts, a contact and a file. Rows for a bulk job are at `/samples/accounts.csv`, without a token.
    pub fn add_samples(&self) {
        let acme = self.insert(
            "Account",
            json!({ "Name": "Acme", "Industry": "Energy", "ErpId__c": "erp-1" }),
        );
        self.insert(
            "Account",
            json!({ "Name": "Bergmann & Söhne", "Industry": "Banking", "ErpId__c": "erp-2" }),
        );
        let contact = json!({ "FirstName": "Ada", "LastName": "Lovelace", "Email": "ada@example.com", "AccountId": acme });
        self.insert("Contact", contact);
        let letter = json!({ "Name": "letter.txt", "ParentId": acme, "ContentType": "text/plain", "Body": "RGVhciBBZGE=" });
        self.insert("Attachment", letter);
        // A poll leaves out the current second.
        self.pass(1);
    }
}
