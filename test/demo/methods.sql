-- As the clerk: a third of the customers signed a mandate for direct debits, a third left a card with the payment
-- provider (of which only the provider's token is kept), the others transfer the money themselves.

WITH added AS (
    SELECT billing.add_payment_method(a.account_id, 'direct_debit', mandate_reference => 'SUND-' || a.external_id, mandate_signed_on => '2025-12-15',
               iban => format('DE%s%s', lpad((98 - (bank || '131400')::numeric % 97)::text, 2, '0'), bank))
      FROM billing.account a, LATERAL (SELECT '21050170' || lpad((a.account_id * 7919)::text, 10, '0') AS bank) b
     WHERE a.account_id % 3 = 0
) SELECT count(*) || ' mandates for direct debits' FROM added;

WITH added AS (
    SELECT billing.add_payment_method(a.account_id, 'card', provider => 'psp', token => 'tok_' || a.external_id, expires_on => '2028-12-31')
      FROM billing.account a WHERE a.account_id % 3 = 1
) SELECT count(*) || ' cards with the payment provider' FROM added;
