-- As the administrator: how money comes in, and what follows when it does not.

-- Cards and direct debits are collected when the invoice is due; what is declined is tried again after 2 and 5 days.
SELECT billing.create_retry_policy('twice', '{2 days, 5 days}', window_length => '30 days', window_attempts => 10);
SELECT billing.create_interest_rate('statutory', 10.15, valid_from => '2024-07-01');

SELECT billing.create_template('sundglas', code, 'mail', 'en', subject => subject, body => body)
  FROM (VALUES ('reminder', 'Invoice {number}: a reminder', E'Dear {account_name},\n\ninvoice {number} over {total} {currency} was due on {due_on}. '
                   'Of it {amount_due} {currency} are open.\nIf you have paid meanwhile, we thank you.\n\n{seller_name}'),
               ('second', 'Invoice {number}: second reminder', E'Dear {account_name},\n\ninvoice {number} was due on {due_on}, and we reminded you of it. Please pay\n'
                   '{total_due} {currency} within two weeks; {fee} {currency} of it are the costs of this reminder.\n\n{seller_name}'),
               ('last', 'Invoice {number}: your line will be closed', E'Dear {account_name},\n\nof invoice {number} {amount_due} {currency} are open since {due_on}. We close your line today,\n'
                   'charge {interest} {currency} of interest, and hand the matter over in two weeks.\n\n{seller_name}')) AS message (code, subject, body);

-- Steps count from the due date, or from the step before; letters go out on working days.
SELECT billing.create_dunning_scheme('usual', name => 'Reminders', currency => 'EUR', threshold => 2, interest => 'statutory', retry_policy => 'twice', steps => '[
    {"after": "7 days",  "actions": ["remind"], "template": "reminder", "weekdays": [1, 2, 3, 4, 5]},
    {"after": "10 days", "counted_from": "previous", "actions": ["remind", "fee"], "fee": 5, "template": "second", "weekdays": [1, 2, 3, 4, 5]},
    {"after": "14 days", "counted_from": "previous", "actions": ["interest", "remind", "suspend"], "template": "last", "weekdays": [1, 2, 3, 4, 5]},
    {"after": "14 days", "counted_from": "previous", "actions": ["agency"], "agency": "Inkasso Nord"}]');
SELECT billing.set_payment_rules('sundglas', retry_policy => 'twice', dunning_scheme => 'usual', payment_tolerance => 0.05);
