// Numbers, sizes, durations and times as text.
import { computed, signal } from '@preact/signals';

const TIMES_ITEM = 'cofferdam-times';
export const timesAre = signal<'local' | 'utc'>(localStorage.getItem(TIMES_ITEM) === 'utc' ? 'utc' : 'local');

export function toggleTimes(): void {
  timesAre.value = timesAre.value === 'utc' ? 'local' : 'utc';
  localStorage.setItem(TIMES_ITEM, timesAre.value);
}

const clocks = computed(() => {
  const timeZone = timesAre.value === 'utc' ? 'UTC' : undefined;
  const day = { year: 'numeric', month: '2-digit', day: '2-digit' } as const;
  const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const;
  return {
    time: new Intl.DateTimeFormat('sv-SE', { timeZone, ...time }),
    full: new Intl.DateTimeFormat('sv-SE', { timeZone, ...day, ...time }),
  };
});

/** Time of day, with the date if it is not today. */
export function clock(ms: number): string {
  const isRecent = Math.abs(Date.now() - ms) < 12 * 3600e3;
  return clocks.value[isRecent ? 'time' : 'full'].format(ms);
}

export const fullTime = (ms: number) => `${clocks.value.full.format(ms)}${timesAre.value === 'utc' ? ' UTC' : ''}`;

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** A count with its thousands, such as `12,345`. */
export const count = (n: number) => whole.format(n);

/** A number in three digits, such as `12.3 k`. */
export function short(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  const abs = Math.abs(n);
  if (abs === 0) return '0';
  if (abs < 10) return n.toFixed(abs < 1 ? 2 : 1).replace(/\.?0+$/, '') || '0';
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const) {
    if (abs >= size) return `${three(n / size)} ${unit}`;
  }
  return n.toFixed(0);
}

const three = (n: number) => n.toFixed(Math.abs(n) < 10 ? 2 : Math.abs(n) < 100 ? 1 : 0);

export const rate = (n: number | null | undefined) => (n === null || n === undefined ? '–' : `${short(n)}/s`);

export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined) return '–';
  for (const [size, unit] of [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']] as const) {
    if (n >= size) return `${three(n / size)} ${unit}`;
  }
  return `${n} B`;
}

export const percent = (share: number | null | undefined) =>
  share === null || share === undefined ? '–' : `${Math.round(share * 100)} %`;

/** A duration in its two largest units. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return '–';
  if (ms < 1) return ms === 0 ? '0 ms' : '< 1 ms';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const parts: [number, string][] = [[31557600, 'y'], [86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const at = parts.findIndex(([size]) => seconds >= size);
  const [size, unit] = parts[at];
  const next = parts[at + 1];
  const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
  return `${Math.floor(seconds / size)} ${unit}${rest && next ? ` ${rest} ${next[1]}` : ''}`;
}

export const ago = (ms: number | null | undefined, now: number) =>
  ms === null || ms === undefined ? '–' : now - ms < 1000 ? 'just now' : `${duration(now - ms)} ago`;

/** The watermark at the end of event time. */
export const END_OF_TIME = 9223372036854775807;

/** The last part of a reference to a component: a name with its version, or a file. */
export function componentName(reference: string | undefined): string {
  if (!reference) return '';
  if (reference.startsWith('sha256:')) return reference.slice(7, 19);
  return reference.slice(reference.lastIndexOf('/') + 1).replace(/\.wasm$/, '');
}

/** Control characters, and those that change the direction of text. */
const SHAPELESS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Names the characters that have no shape, such as `⟨U+202E⟩`. */
export const visible = (text: string) =>
  text.replace(SHAPELESS, (one) => `⟨U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
