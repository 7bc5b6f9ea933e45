// What a person has set for this browser: the theme.
import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';
const THEME_ITEM = 'cofferdam-theme';
const THEMES: Theme[] = ['system', 'light', 'dark'];
const stored = localStorage.getItem(THEME_ITEM) as Theme | null;

export const theme = signal<Theme>(stored && THEMES.includes(stored) ? stored : 'system');
const dark = matchMedia('(prefers-color-scheme: dark)');
const systemIsDark = signal(dark.matches);
dark.addEventListener('change', () => (systemIsDark.value = dark.matches));

export const isDark = () => (theme.value === 'system' ? systemIsDark.value : theme.value === 'dark');

export function setTheme(next: Theme): void {
  theme.value = next;
  localStorage.setItem(THEME_ITEM, next);
}

effect(() => {
  document.documentElement.dataset.theme = isDark() ? 'dark' : 'light';
});
