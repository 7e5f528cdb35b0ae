-- One invoice as it might be printed: the office that paid most tiers on 1 March.

SELECT i.id, i.account_id FROM billing.invoice i JOIN billing.invoice_line l ON l.account_id = i.account_id AND l.invoice_id = i.id
 WHERE i.issued_on = '2026-03-01' GROUP BY i.id, i.account_id, i.total
 ORDER BY sum(coalesce(jsonb_array_length(l.brackets), 0)) DESC, count(*) DESC, i.total DESC LIMIT 1 \gset

\set width 86
SELECT repeat('─', :width);
SELECT rtrim(format('%-58s%28s', party, fact))
  FROM billing.invoice i JOIN billing.invoice_header h ON h.account_id = i.account_id AND h.id = i.id
  JOIN billing.account a ON a.account_id = i.account_id,
       LATERAL (VALUES (1, h.seller->>'name', 'I N V O I C E'),
                       (2, concat_ws(', ', h.seller #>> '{address,line1}', concat_ws(' ', h.seller #>> '{address,postal_code}', h.seller #>> '{address,city}')),
                           'Number ' || i.number),
                       (3, concat_ws(' ', h.seller #>> '{tax_ids,0,type}', h.seller #>> '{tax_ids,0,value}'), 'Date ' || i.issued_on),
                       (4, '', 'Payable until ' || i.due_on),
                       (5, h.buyer->>'name', ''),
                       (6, h.buyer #>> '{address,line1}', ''),
                       (7, concat_ws(' ', h.buyer #>> '{address,postal_code}', h.buyer #>> '{address,city}'), 'Customer ' || a.external_id)) AS head (no, party, fact)
 WHERE i.account_id = :account_id AND i.id = :id ORDER BY no;
SELECT repeat('─', :width);
SELECT format('%-24s%-25s%9s%-14s%14s', 'Service', 'From – to', 'Quantity', ' × unit amount', 'Amount EUR');
SELECT repeat('─', :width);

-- A line, and below it the brackets of a tiered price.
SELECT text FROM billing.invoice_line l,
    LATERAL (SELECT 0 AS no, format('%-24s%-25s%9s%-14s%14s', l.description,
                        to_char(l.period_start, 'DD Mon') || ' – ' || to_char(l.period_end - interval '1 day', 'DD Mon YYYY'),
                        trim_scale(l.quantity), ' × ' || l.unit_amount, l.amount) AS text
             UNION ALL
             SELECT no, format('%49s%9s%-14s%14s',
                        concat_ws(' ', CASE WHEN b->>'from_quantity' <> '0' THEN 'over ' || (b->>'from_quantity') END, 'up to ' || (b->>'to_quantity')),
                        b->>'quantity', coalesce(' × ' || (b->>'unit_amount'), ' flat'),
                        billing.round_amount((b->>'amount')::numeric, 'EUR'))
               FROM jsonb_array_elements(l.brackets) WITH ORDINALITY AS e (b, no)) AS printed
 WHERE l.account_id = :account_id AND l.invoice_id = :id ORDER BY l.line_no, no;
SELECT repeat('─', :width);
SELECT format('%72s%14s', label, amount)
  FROM (SELECT 1 AS no, 'Net' AS label, net_total AS amount FROM billing.invoice WHERE account_id = :account_id AND id = :id
        UNION ALL
        SELECT 2, format('VAT %s %% on %s', rate, taxable_amount), tax_amount FROM billing.invoice_tax WHERE account_id = :account_id AND invoice_id = :id
        UNION ALL
        SELECT 3, 'Total EUR', total FROM billing.invoice WHERE account_id = :account_id AND id = :id) AS totals
 ORDER BY no, label DESC;
SELECT repeat('─', :width);
\qecho
