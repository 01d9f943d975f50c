/*
 * settings.h
 *
 * What a DBA or a session can set; pay_idem.c defines it.
 */
#ifndef PAY_SETTINGS_H
#define PAY_SETTINGS_H

/* pay_idem.lookalike_window, in seconds; 0: nobody is asked. */
extern int	pay_lookalike_window_s;

#endif							/* PAY_SETTINGS_H */
