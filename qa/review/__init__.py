"""Which labels pass, which need another opinion or a reviewer, and what a reviewer's answer says of the others."""
