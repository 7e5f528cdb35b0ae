
-- Nothing to PUBLIC; billing.grant_access() gives each kind of role what it needs.
REVOKE ALL ON ALL ROUTINES IN SCHEMA billing, billing_internal FROM PUBLIC;
