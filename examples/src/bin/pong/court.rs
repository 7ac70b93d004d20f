//! The game itself: a ball, two paddles, a score. Pure: no clock, no network, no randomness.
//!
//! Lengths are court units (the court is 160 x 90), times are seconds.

use serde::{Deserialize, Serialize};

/// Turns of the room's loop per second.
pub(crate) const TICK_HZ: u32 = 60;
/// Points that win a match.
pub(crate) const POINTS_TO_WIN: u32 = 5;

const WIDTH: f32 = 160.0;
const HEIGHT: f32 = 90.0;
const PADDLE_HALF: f32 = 9.0;
const PADDLE_SPEED: f32 = 70.0;
const SERVE_SPEED: f32 = 110.0;
const TOP_SPEED: f32 = 260.0;
/// How much faster the ball leaves a paddle than it came.
const RALLY_GAIN: f32 = 1.06;
/// Steepest way off a paddle: vertical speed per total speed.
const STEEPEST: f32 = 0.8;

/// Who plays on which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    /// Index into everything that is kept per side.
    pub(crate) fn index(self) -> usize {
        match self {
            Side::Left => 0,
            Side::Right => 1,
        }
    }

    /// The other end.
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// Direction of a ball that flies towards this end.
    fn heading(self) -> f32 {
        match self {
            Side::Left => -1.0,
            Side::Right => 1.0,
        }
    }
}

/// Position, and velocity in units per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ball {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) vx: f32,
    pub(crate) vy: f32,
}

/// The state of a match.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Court {
    /// In the air.
    pub(crate) ball: Ball,
    /// Heights of the paddles' centres.
    pub(crate) paddles: [f32; 2],
    /// Points.
    pub(crate) score: [u32; 2],
}

impl Court {
    /// A new match; the first ball goes `to` one side, with `slope` in -1 (steeply up) to 1 (steeply down).
    pub(crate) fn new(to: Side, slope: f32) -> Self {
        Self { ball: serve(to, slope), paddles: [HEIGHT / 2.0; 2], score: [0; 2] }
    }

    /// Moves everything by `dt`. Says who scored, if anyone; the loser of the point then receives the next serve,
    /// as steep as the ball that was lost.
    pub(crate) fn step(&mut self, sticks: [i8; 2], dt: f32) -> Option<Side> {
        for (paddle, stick) in self.paddles.iter_mut().zip(sticks) {
            let moved = *paddle + f32::from(stick.signum()) * PADDLE_SPEED * dt;
            *paddle = moved.clamp(PADDLE_HALF, HEIGHT - PADDLE_HALF);
        }
        self.ball.x += self.ball.vx * dt;
        self.ball.y += self.ball.vy * dt;
        self.bounce_off_walls();

        let receiver = if self.ball.vx < 0.0 { Side::Left } else { Side::Right };
        let beyond = match receiver {
            Side::Left => -self.ball.x,
            Side::Right => self.ball.x - WIDTH,
        };
        if beyond < 0.0 || self.bounce_off_paddle(receiver, beyond) {
            return None;
        }
        let scorer = receiver.other();
        self.score[scorer.index()] += 1;
        self.ball = serve(receiver, self.ball.vy / speed(&self.ball));
        Some(scorer)
    }

    /// Who has the points to win, if anyone.
    pub(crate) fn winner(&self) -> Option<Side> {
        [Side::Left, Side::Right].into_iter().find(|side| self.score[side.index()] >= POINTS_TO_WIN)
    }

    fn bounce_off_walls(&mut self) {
        let ball = &mut self.ball;
        if ball.y < 0.0 {
            ball.y = -ball.y;
            ball.vy = ball.vy.abs();
        } else if ball.y > HEIGHT {
            ball.y = 2.0 * HEIGHT - ball.y;
            ball.vy = -ball.vy.abs();
        }
    }

    /// Sends the ball back if the paddle is there. `beyond` is how far the ball has flown past the line, which the
    /// bounce gives back: no ball is lost between two ticks, however fast. The edge of a paddle returns it steeply.
    fn bounce_off_paddle(&mut self, side: Side, beyond: f32) -> bool {
        let offset = (self.ball.y - self.paddles[side.index()]) / PADDLE_HALF;
        if offset.abs() > 1.0 {
            return false;
        }
        let speed = (speed(&self.ball) * RALLY_GAIN).min(TOP_SPEED);
        let away = side.other().heading();
        self.ball.vy = speed * STEEPEST * offset;
        self.ball.vx = away * (speed * speed - self.ball.vy * self.ball.vy).sqrt();
        self.ball.x += 2.0 * away * beyond;
        true
    }
}

/// A ball in the middle, on its way to one side.
fn serve(to: Side, slope: f32) -> Ball {
    let vy = SERVE_SPEED * STEEPEST * slope.clamp(-1.0, 1.0);
    let vx = to.heading() * (SERVE_SPEED * SERVE_SPEED - vy * vy).sqrt();
    Ball { x: WIDTH / 2.0, y: HEIGHT / 2.0, vx, vy }
}

fn speed(ball: &Ball) -> f32 {
    ball.vx.hypot(ball.vy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DT: f32 = 1.0 / TICK_HZ as f32;

    /// Where a perfect player would push.
    fn follow(court: &Court, side: Side) -> i8 {
        (court.ball.y - court.paddles[side.index()]).signum() as i8
    }

    #[test]
    fn a_flat_serve_comes_back_faster() {
        let mut court = Court::new(Side::Right, 0.0);
        while court.ball.vx > 0.0 {
            assert_eq!(court.step([0, 0], DT), None);
        }
        assert_eq!(court.ball.vy, 0.0);
        assert!((court.ball.vx + SERVE_SPEED * RALLY_GAIN).abs() < 1e-3);
        assert!(court.ball.x <= WIDTH);
    }

    #[test]
    fn a_missed_ball_scores_for_the_other_side_and_is_served_to_the_loser() {
        let mut court = Court::new(Side::Left, 0.0);
        court.paddles[Side::Left.index()] = HEIGHT - PADDLE_HALF;
        let scorer = (0..TICK_HZ).find_map(|_| court.step([0, 0], DT));
        assert_eq!(scorer, Some(Side::Right));
        assert_eq!(court.score, [0, 1]);
        assert_eq!((court.ball.x, court.ball.y), (WIDTH / 2.0, HEIGHT / 2.0));
        assert!(court.ball.vx < 0.0, "the loser receives");
    }

    #[test]
    fn paddles_stop_at_the_walls() {
        let mut court = Court::new(Side::Left, 0.0);
        for _ in 0..10 * TICK_HZ {
            court.step([-1, 1], DT);
        }
        assert_eq!(court.paddles, [PADDLE_HALF, HEIGHT - PADDLE_HALF]);
    }

    #[test]
    fn walls_turn_the_ball_and_keep_its_speed() {
        let mut court = Court::new(Side::Right, -1.0);
        let before = speed(&court.ball);
        while court.ball.vy < 0.0 {
            court.step([0, 0], DT);
        }
        assert!((speed(&court.ball) - before).abs() < 1e-3);
        assert!((0.0..=HEIGHT).contains(&court.ball.y));
    }

    #[test]
    fn a_long_rally_stays_in_the_court_and_under_the_top_speed() {
        let mut court = Court::new(Side::Left, 0.3);
        for tick in 0..200_000 {
            let sticks = [follow(&court, Side::Left), follow(&court, Side::Right)];
            court.step(sticks, DT);
            let ball = court.ball;
            assert!(
                (0.0..=WIDTH).contains(&ball.x) && (0.0..=HEIGHT).contains(&ball.y),
                "tick {tick}: {ball:?}"
            );
            assert!(speed(&ball) <= TOP_SPEED + 0.01, "tick {tick}: {ball:?}");
        }
    }

    #[test]
    fn the_first_with_enough_points_wins() {
        let mut court = Court::new(Side::Left, 0.0);
        assert_eq!(court.winner(), None);
        court.score = [POINTS_TO_WIN - 1, POINTS_TO_WIN];
        assert_eq!(court.winner(), Some(Side::Right));
    }
}
